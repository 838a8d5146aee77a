# The topic that alarms go to, and the key that encrypts it and the logs.

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  topic_arn = "arn:${local.partition}:sns:${local.region}:${local.account}:${var.topic_name}"
  key_arn   = var.operations_key_arn != "" ? var.operations_key_arn : aws_kms_key.this[0].arn
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

# Without it nobody could read the logs that are kept, so Terraform refuses to destroy it. To let go of it, and keep it:
# terraform state rm (infra/terraform/README.md).
resource "aws_kms_key" "this" {
  count = var.operations_key_arn == "" ? 1 : 0

  description             = var.key_description
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "AccountDecides" # without this nobody could ever change the key
          Effect    = "Allow"
          Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
          Action    = "kms:*"
          Resource  = "*"
        },
        {
          Sid       = "LogGroupsOfTheFunctions"
          Effect    = "Allow"
          Principal = { Service = "logs.${local.region}.${data.aws_partition.current.dns_suffix}" }
          Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
          Resource  = "*"
          Condition = {
            ArnLike = {
              "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${var.name}-*"
            }
          }
        },
        {
          Sid       = "AlarmsToTheTopic"
          Effect    = "Allow"
          Principal = { Service = "cloudwatch.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
      ],
      length(var.events_rule_arns) == 0 ? [] : [
        {
          Sid       = "EventsToTheTopic" # SNS does not tell KMS whose event it is: a condition on the source would drop every message
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
          Resource  = "*"
          Condition = { ArnEquals = { "kms:EncryptionContext:aws:sns:topicArn" = local.topic_arn } }
        },
      ],
    )
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sns_topic" "this" {
  name              = var.topic_name
  kms_master_key_id = local.key_arn
  tags              = var.tags
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "AlarmsOfThisAccount"
          Effect    = "Allow"
          Principal = { Service = "cloudwatch.amazonaws.com" }
          Action    = "sns:Publish"
          Resource  = aws_sns_topic.this.arn
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
      ],
      length(var.events_rule_arns) == 0 ? [] : [
        {
          Sid       = "RotationsOfThisAccount"
          Effect    = "Allow"
          Principal = { Service = "events.amazonaws.com" }
          Action    = "sns:Publish"
          Resource  = aws_sns_topic.this.arn
          Condition = { ArnEquals = { "aws:SourceArn" = var.events_rule_arns } }
        },
      ],
    )
  })
}

resource "aws_sns_topic_subscription" "email" {
  count = var.alarm_email != "" ? 1 : 0

  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
