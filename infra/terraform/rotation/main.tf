# The rotation functions rotate-postgres and rotate-mongo: what infra/rotation.yaml makes, under the same names.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  rotate_postgres_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-rotate-postgres"
  rotate_mongo_arn    = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-rotate-mongo"

  # The functions that are there.
  rotating = merge(
    var.rotate_postgres == "on" ? { rotate-postgres = module.rotate_postgres.name } : {},
    var.rotate_mongo == "on" ? { rotate-mongo = module.rotate_mongo.name } : {},
  )

  settings = {
    name                     = var.name
    architecture             = var.architecture
    package_folder           = var.package_folder
    code_bucket              = var.code_bucket
    code_prefix              = var.code_prefix
    subnet_ids               = var.subnet_ids
    security_group_ids       = var.security_group_ids
    certificate_layer_arn    = var.certificate_layer_arn
    tracing                  = var.tracing
    code_signing_config_arn  = var.code_signing_config_arn
    environment_key_arn      = var.environment_key_arn
    log_retention_days       = var.log_retention_days
    log_export_arn           = var.log_export_arn
    log_export_role_arn      = var.log_export_role_arn
    operations_key_arn       = module.operations.key_arn
    permissions_boundary_arn = var.permissions_boundary_arn
    tags                     = var.tags
  }

  keys_of_secrets = length(var.secrets_key_arns) == 0 ? [] : [
    {
      Sid      = "UseKeysOfSecrets"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = var.secrets_key_arns
      Condition = {
        StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.${data.aws_partition.current.dns_suffix}" }
        StringLike   = { "kms:EncryptionContext:SecretARN" = "arn:${local.partition}:secretsmanager:${local.region}:*:secret:*" }
      }
    },
  ]
}

module "operations" {
  source = "../shared/operations"

  name            = var.name
  topic_name      = "${var.name}-rotation-alarms"
  key_description = "${var.name}: logs and alarms of the rotations"
  events_rule_arns = [
    for rule in ["rotations", "overdue"] : # the second one is of watch.yaml
    "arn:${local.partition}:events:${local.region}:${local.account}:rule/${var.name}-${rule}"
  ]
  alarm_email        = var.alarm_email
  operations_key_arn = var.operations_key_arn
  tags               = var.tags
}

module "rotate_postgres" {
  source = "../shared/function"

  function     = "rotate-postgres"
  enabled      = var.rotate_postgres == "on"
  description  = "Rotates PostgreSQL passwords for Secrets Manager"
  function_arn = local.rotate_postgres_arn
  role_name    = "${var.name}-rotate-postgres-${local.region}"
  timeout      = 60
  settings     = local.settings

  variables = {
    ADMIN_SECRET_ARNS = join(",", var.postgres_admin_secret_arns)
    SSL_CERT_FILE     = "/dev/null" # else OpenSSL reads the system's authorities, to be dropped
    KEYTURN_SETTINGS  = var.postgres_settings
  }

  statements = concat(
    [
      {
        Sid    = "RotateAttachedSecrets" # attaching a rotation is the permission
        Effect = "Allow"
        Action = [
          "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue",
          "secretsmanager:RotateSecret", "secretsmanager:UpdateSecretVersionStage",
        ]
        Resource  = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*"
        Condition = { StringEquals = { "secretsmanager:resource/AllowRotationLambdaArn" = local.rotate_postgres_arn } }
      },
      {
        Sid      = "StartRotations" # Secrets Manager asks for it when revoke starts a rotation
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = local.rotate_postgres_arn
      },
    ],
    length(var.check_secret_arns) == 0 ? [] : [
      {
        Sid      = "CheckBeforeAttaching"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = var.check_secret_arns
      },
    ],
    length(var.postgres_admin_secret_arns) == 0 ? [] : [
      {
        Sid      = "ReadAdmins"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = var.postgres_admin_secret_arns
      },
      {
        Sid    = "FindServers" # of admin secrets that RDS manages; which one, the secret's tag says
        Effect = "Allow"
        Action = ["rds:DescribeDBInstances", "rds:DescribeDBClusters"]
        Resource = [
          "arn:${local.partition}:rds:${local.region}:${local.account}:db:*",
          "arn:${local.partition}:rds:${local.region}:${local.account}:cluster:*",
        ]
      },
    ],
    length(var.postgres_iam_admins) == 0 ? [] : [
      {
        Sid      = "LogInAsAdmins" # RDS asks for it when a token is shown
        Effect   = "Allow"
        Action   = "rds-db:connect"
        Resource = var.postgres_iam_admins
      },
    ],
    length(var.postgres_mirror_secret_arns) == 0 ? [] : [
      {
        Sid      = "KeepMirrors"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
        Resource = var.postgres_mirror_secret_arns
      },
    ],
    local.keys_of_secrets,
  )
}

module "rotate_mongo" {
  source = "../shared/function"

  function     = "rotate-mongo"
  enabled      = var.rotate_mongo == "on"
  description  = "Rotates MongoDB passwords, at Atlas and on servers of one's own, for Secrets Manager"
  function_arn = local.rotate_mongo_arn
  role_name    = "${var.name}-rotate-mongo-${local.region}"
  timeout      = 300 # Atlas may take minutes to carry a password to every cluster
  settings     = local.settings

  variables = {
    ADMIN_SECRET_ARNS = join(",", var.mongo_admin_secret_arns)
    ATLAS_SECRET_ID   = var.atlas_secret_arn
    ATLAS_PROJECT_IDS = join(",", var.atlas_project_ids)
    KEYTURN_ENV       = var.environment
    KEYTURN_SETTINGS  = var.mongo_settings
  }

  statements = concat(
    [
      {
        Sid    = "RotateAttachedSecrets" # attaching a rotation is the permission
        Effect = "Allow"
        Action = [
          "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue",
          "secretsmanager:UpdateSecretVersionStage",
        ]
        Resource  = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*"
        Condition = { StringEquals = { "secretsmanager:resource/AllowRotationLambdaArn" = local.rotate_mongo_arn } }
      },
    ],
    length(var.mongo_admin_secret_arns) == 0 ? [] : [
      {
        Sid      = "ReadAdmins"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.mongo_admin_secret_arns
      },
    ],
    var.atlas_secret_arn == "" ? [] : [
      {
        Sid      = "ReadAtlasCredential"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.atlas_secret_arn
      },
    ],
    local.keys_of_secrets,
  )
}

resource "aws_lambda_permission" "secrets_manager" {
  for_each = local.rotating

  action         = "lambda:InvokeFunction"
  function_name  = each.value
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
}

# They come also where the function was never invoked, and for secrets that another function rotates.
resource "aws_cloudwatch_event_rule" "rotations" {
  count = var.rotation_events != "none" ? 1 : 0

  name        = "${var.name}-rotations"
  description = "How rotations ended, one message a secret"
  tags        = var.tags

  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS Service Event via CloudTrail"]
    detail = {
      eventName = concat(["RotationFailed", "RotationAbandoned"], var.rotation_events == "all" ? ["RotationSucceeded"] : [])
    }
  })
}

resource "aws_cloudwatch_event_target" "rotations" {
  count = var.rotation_events != "none" ? 1 : 0

  rule      = aws_cloudwatch_event_rule.rotations[0].name
  target_id = "topic"
  arn       = module.operations.topic_arn

  input_transformer {
    input_paths = {
      event  = "$.detail.eventName"
      secret = "$.detail.additionalEventData.SecretId"
      at     = "$.time"
    }
    input_template = "\"<event> of <secret> at <at>. Runbook infra/runbooks/stuck-rotation.md\""
  }
}

# Secrets Manager sends it by itself, without a trail.
resource "aws_cloudwatch_event_rule" "label_updated" {
  count = var.label_updated_target_arn != "" ? 1 : 0

  name        = "${var.name}-label-updated"
  description = "AWSCURRENT of a secret has moved"
  tags        = var.tags

  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["Secret Label Updated"]
    detail      = { labelUpdated = ["AWSCURRENT"] }
  })
}

resource "aws_cloudwatch_event_target" "label_updated" {
  count = var.label_updated_target_arn != "" ? 1 : 0

  rule      = aws_cloudwatch_event_rule.label_updated[0].name
  target_id = "consumers"
  arn       = var.label_updated_target_arn
  role_arn  = var.label_updated_role_arn != "" ? var.label_updated_role_arn : null
}

# It tries again for a day, and then gives up in silence.
resource "aws_cloudwatch_metric_alarm" "label_updated_failed" {
  count = var.label_updated_target_arn != "" ? 1 : 0

  alarm_name          = "${var.name}-label-updated-failed"
  alarm_description   = "EventBridge could not hand on that a secret has a new value. Look at the target's policy, or at the role. Runbook infra/runbooks/stuck-rotation.md"
  namespace           = "AWS/Events"
  metric_name         = "FailedInvocations"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.label_updated[0].name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [module.operations.topic_arn]
  ok_actions          = [module.operations.topic_arn]
  tags                = var.tags
}

# These stay red until a rotation has finished, or an invocation has ended well: no news is no good news. One minute, so that a
# failure and the good end of the next try do not fall into one period, which would then be the last word.
resource "aws_cloudwatch_metric_alarm" "failed" {
  for_each = local.rotating

  alarm_name          = "${each.value}-failed"
  alarm_description   = "A step of a rotation failed, and no rotation has finished since. The log has the code and the remedy. Runbook infra/runbooks/stuck-rotation.md"
  namespace           = "Keyturn"
  metric_name         = "StepFailed"
  dimensions          = { Function = each.value }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [module.operations.topic_arn]
  ok_actions          = [module.operations.topic_arn]
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = local.rotating

  alarm_name          = "${each.value}-errors"
  alarm_description   = "An invocation ended in an error, and none has ended well since. Where the alarm \"failed\" is silent, the function could not say why (out of time or memory, a zip for another processor), or its settings are wrong. Runbook infra/runbooks/stuck-rotation.md"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = each.value }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [module.operations.topic_arn]
  ok_actions          = [module.operations.topic_arn]
  tags                = var.tags
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-rotation-${local.region}" # dashboards are the account's, not the region's
  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", { name = var.name, region = local.region })
}
