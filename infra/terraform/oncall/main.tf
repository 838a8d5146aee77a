# oncall-sync: what infra/oncall.yaml makes, under the same names.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  oncall_sync_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-oncall-sync"
  parameters      = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${var.path}"

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
      Action   = ["kms:Decrypt"]
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

  name               = var.name
  topic_name         = "${var.name}-oncall-alarms"
  key_description    = "${var.name}: logs and alarms of oncall-sync"
  alarm_email        = var.alarm_email
  operations_key_arn = var.operations_key_arn
  tags               = var.tags
}

module "oncall_sync" {
  source = "../shared/function"

  function     = "oncall-sync"
  description  = "Gives break-glass to whoever is on call"
  function_arn = local.oncall_sync_arn
  role_name    = "${var.name}-oncall-sync-${local.region}"
  timeout      = 50
  settings     = local.settings

  # Parameter Store has no compare-and-swap: two at a time could lose each other's ledger.
  reserved_concurrent_executions = var.reserve_concurrency == "on" ? 1 : null

  variables = {
    CONFIG_PATH         = "${var.path}/bindings"
    LEDGER_PATH         = "${var.path}/ledgers"
    PAGERDUTY_SECRET_ID = var.pager_duty_secret_arn
    OKTA_SECRET_ID      = var.okta_secret_arn
    DATADOG_SECRET_ID   = var.datadog_secret_arn
    SLACK_SECRET_ID     = var.slack_secret_arn
    OWNER               = "${local.account}/${local.region}${var.path}" # in the descriptions of groups, where every account can see it
    SCHEDULE            = var.oncall_schedule                           # without ticks nobody would end a grant by hand
    KEYTURN_SETTINGS    = var.oncall_settings
  }

  statements = concat(
    [
      {
        Sid      = "ReadVendorCredentials"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = compact([var.pager_duty_secret_arn, var.okta_secret_arn, var.datadog_secret_arn, var.slack_secret_arn])
      },
      {
        Sid    = "ReadBindingsAndLedgers"
        Effect = "Allow"
        Action = "ssm:GetParametersByPath"
        Resource = [
          "${local.parameters}/bindings", "${local.parameters}/bindings/*",
          "${local.parameters}/ledgers", "${local.parameters}/ledgers/*",
        ]
      },
      {
        Sid      = "WriteLedgersAndReadTheirEarlierVersions"
        Effect   = "Allow"
        Action   = ["ssm:PutParameter", "ssm:GetParameterHistory"]
        Resource = "${local.parameters}/ledgers/*"
      },
      {
        Sid      = "KeepEventsThatCameTooLate" # Lambda itself does this
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.missed_ticks.arn
      },
    ],
    local.keys_of_secrets,
  )
}

resource "aws_lambda_function_event_invoke_config" "oncall_sync" {
  function_name                = module.oncall_sync.name
  maximum_retry_attempts       = 0 # the next tick is the retry
  maximum_event_age_in_seconds = 60

  destination_config {
    on_failure {
      destination = aws_sqs_queue.missed_ticks.arn
    }
  }
}

# A second deployment with the same path cannot make it, and stops: two would lose each other's ledgers.
resource "aws_ssm_parameter" "owner" {
  name        = "${var.path}/owner"
  type        = "String"
  description = "The deployment whose oncall-sync keeps the ledgers here"
  value       = var.name
  tags        = var.tags
}

resource "aws_scheduler_schedule" "tick" {
  name                = "${var.name}-oncall-sync"
  description         = "oncall-sync, every minute"
  state               = var.oncall_schedule == "on" ? "ENABLED" : "DISABLED"
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.oncall_sync.arn
    role_arn = aws_iam_role.tick.arn
    input    = jsonencode({ action = "sync" })

    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }

    dead_letter_config {
      arn = aws_sqs_queue.missed_ticks.arn
    }
  }

  lifecycle {
    precondition {
      condition     = var.oncall_schedule == "off" || join("", [var.alarm_email, var.datadog_secret_arn, var.slack_secret_arn]) != ""
      error_message = "No break-glass in silence. Name alarm_email, datadog_secret_arn or slack_secret_arn before the schedule is on."
    }
  }
}

resource "aws_scheduler_schedule" "forecast" {
  name                = "${var.name}-oncall-sync-forecast"
  description         = "oncall-sync looks a week ahead, every morning"
  state               = var.oncall_schedule == "on" ? "ENABLED" : "DISABLED"
  schedule_expression = "cron(17 6 * * ? *)" # not at a full hour: shifts change then, and a tick waits while a forecast runs

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.oncall_sync.arn
    role_arn = aws_iam_role.tick.arn
    input    = jsonencode({ action = "forecast" })

    retry_policy {
      maximum_retry_attempts       = 3
      maximum_event_age_in_seconds = 3600
    }

    dead_letter_config {
      arn = aws_sqs_queue.missed_ticks.arn
    }
  }
}

resource "aws_iam_role" "tick" {
  name                 = "${var.name}-oncall-schedule-${local.region}"
  description          = "What the schedule of oncall-sync may do"
  permissions_boundary = var.permissions_boundary_arn != "" ? var.permissions_boundary_arn : null
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "scheduler.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = local.account
            "aws:SourceArn"     = "arn:${local.partition}:scheduler:${local.region}:${local.account}:schedule-group/default"
          }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy" "tick" {
  name = "tick"
  role = aws_iam_role.tick.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "InvokeOncallSync", Effect = "Allow", Action = "lambda:InvokeFunction", Resource = module.oncall_sync.arn },
      { Sid = "KeepWhatCouldNotBeInvoked", Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.missed_ticks.arn },
    ]
  })
}

resource "aws_sqs_queue" "missed_ticks" {
  name                      = "${var.name}-missed-ticks"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
  tags                      = var.tags
}

locals {
  alarms = {
    heartbeat-missing = {
      description = "No tick has read and done everything for five minutes, so perhaps nobody is taken out. It rings until the schedule is on. Runbook infra/runbooks/pagerduty-down.md"
      metric      = "RunsOk"
      statistic   = "Sum"
      period      = 60
      periods     = 5
      operator    = "LessThanThreshold"
      threshold   = 1
      missing     = "breaching"
      tells_ok    = true
    }
    overstay = {
      description = "Somebody is in a break-glass group five minutes after their time. Runbook infra/runbooks/okta-group-drift.md"
      metric      = "OverstaySeconds"
      statistic   = "Maximum"
      period      = 60
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 300
      missing     = "notBreaching"
      tells_ok    = true
    }
    source-unknown = {
      description = "Nobody could read for ten minutes who is on call. Runbook infra/runbooks/pagerduty-down.md"
      metric      = "SourceAgeSeconds"
      statistic   = "Maximum"
      period      = 60
      periods     = 3 # one failed reading in a new environment can look old at once
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 600
      missing     = "notBreaching"
      tells_ok    = true
    }
    brake-pulled = {
      description = "More people are on call than a binding allows, so nobody is granted. Runbook infra/runbooks/okta-group-drift.md"
      metric      = "BrakePulled"
      statistic   = "Maximum"
      period      = 60
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = true
    }
    unresolved = {
      description = "Something has waited for a person for five minutes (nobody granted, an outsider, an unfinished change). Runbook infra/runbooks/okta-group-drift.md"
      metric      = "Unresolved"
      statistic   = "Maximum"
      period      = 60
      periods     = 5
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = true
    }
    alert-failed = {
      description = "Datadog or Slack did not take an alert. Ask oncall-sync for doctor. Runbook infra/runbooks/first-day.md"
      metric      = "AlertFailed"
      statistic   = "Sum"
      period      = 300
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = true
    }
    granted = {
      description = "Somebody was given break-glass within the last minute, perhaps several people. The log says who, and why. Runbook infra/runbooks/quarterly-access-review.md"
      metric      = "Grants"
      statistic   = "Sum"
      period      = 60
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = false
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-oncall-sync-${each.key}"
  alarm_description   = each.value.description
  namespace           = "Keyturn"
  metric_name         = each.value.metric
  dimensions          = { Function = module.oncall_sync.name }
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [module.operations.topic_arn]
  ok_actions          = each.value.tells_ok ? [module.operations.topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-oncall-${local.region}" # dashboards are the account's, not the region's
  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", { name = var.name, region = local.region })
}
