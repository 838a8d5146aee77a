# break-glass: what infra/break-glass.yaml makes, under the same names.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  break_glass_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-break-glass"
  all_parameters  = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter"
  parameters      = "${local.all_parameters}${var.path}"
  log_groups      = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda"

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

  alert_channels = compact([var.datadog_secret_arn, var.slack_secret_arn])

  read_alert_channels = length(local.alert_channels) == 0 ? [] : [
    {
      Sid      = "ReadAlertChannels"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = local.alert_channels
    },
  ]

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
  topic_name         = "${var.name}-break-glass-alarms"
  key_description    = "${var.name}: logs and alarms of break-glass"
  alarm_email        = var.alarm_email
  operations_key_arn = var.operations_key_arn
  tags               = var.tags
}

module "break_glass" {
  source = "../shared/function"

  function     = "break-glass"
  description  = "Gives people on call a database login of their own, for minutes"
  function_arn = local.break_glass_arn
  role_name    = "${var.name}-break-glass-${local.region}"
  timeout      = 50
  settings     = local.settings

  reserved_concurrent_executions = var.reserve_concurrency == "on" ? 10 : null

  variables = {
    CONFIG_PATH       = "${var.path}/databases"
    STATE_PATH        = "${var.path}/logins"
    LEDGER_PATH       = "${var.oncall_path}/ledgers"
    PERMISSION_SETS   = var.permission_sets
    DATADOG_SECRET_ID = var.datadog_secret_arn
    SLACK_SECRET_ID   = var.slack_secret_arn
    SCHEDULE          = var.sweep_schedule # without sweeps nobody would end sessions
    ONCALL_LOG_GROUP  = "/aws/lambda/${var.oncall_name}-oncall-sync"
    SSL_CERT_FILE     = "/dev/null" # else OpenSSL reads the system's authorities, to be dropped
    KEYTURN_SETTINGS  = var.break_glass_settings
  }

  statements = concat(
    [
      {
        Sid      = "ReadAdmins"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.admin_secret_arns
      },
    ],
    local.read_alert_channels,
    [
      {
        Sid      = "ReadDocuments"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParametersByPath"]
        Resource = ["${local.parameters}/databases", "${local.parameters}/databases/*"]
      },
      {
        Sid      = "ReadRecords"
        Effect   = "Allow"
        Action   = "ssm:GetParametersByPath"
        Resource = ["${local.parameters}/logins", "${local.parameters}/logins/*"]
      },
      {
        Sid      = "ReadLedgers"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "${local.all_parameters}${var.oncall_path}/ledgers/*"
      },
      {
        Sid      = "KeepRecords"
        Effect   = "Allow"
        Action   = ["ssm:PutParameter", "ssm:DeleteParameter"]
        Resource = "${local.parameters}/logins/*"
      },
      {
        Sid      = "ReadAuditLines" # for the report
        Effect   = "Allow"
        Action   = "logs:FilterLogEvents"
        Resource = ["${local.log_groups}/${var.name}-break-glass:*", "${local.log_groups}/${var.oncall_name}-oncall-sync:*"]
      },
      {
        Sid      = "KeepEventsThatCameTooLate" # Lambda itself does this
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.missed_sweeps.arn
      },
    ],
    local.keys_of_secrets,
  )
}

# Who asks is what Lambda writes into the event of a function URL, and whoever invokes the function directly writes the event. So the
# function takes such events on this alias alone, and whoever may ask may invoke it by the URL alone (infra/security.md).
resource "aws_lambda_alias" "url" {
  name             = "url"
  description      = "People ask here, by the function URL"
  function_name    = module.break_glass.name
  function_version = "$LATEST"
}

resource "aws_lambda_function_url" "this" {
  function_name      = module.break_glass.name
  qualifier          = aws_lambda_alias.url.name
  authorization_type = "AWS_IAM"
}

resource "aws_lambda_alias" "ops" {
  name             = "ops"
  description      = "Sweep, report and check"
  function_name    = module.break_glass.name
  function_version = "$LATEST"
}

resource "aws_lambda_function_event_invoke_config" "break_glass" {
  function_name                = module.break_glass.name
  qualifier                    = aws_lambda_alias.ops.name
  maximum_retry_attempts       = 0 # the next sweep is the retry
  maximum_event_age_in_seconds = 60

  destination_config {
    on_failure {
      destination = aws_sqs_queue.missed_sweeps.arn
    }
  }
}

resource "aws_scheduler_schedule" "sweep" {
  name                = "${var.name}-break-glass"
  description         = "break-glass, every minute"
  state               = var.sweep_schedule == "on" ? "ENABLED" : "DISABLED"
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_alias.ops.arn
    role_arn = aws_iam_role.sweep.arn
    input    = jsonencode({ action = "sweep" })

    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }

    dead_letter_config {
      arn = aws_sqs_queue.missed_sweeps.arn
    }
  }

  lifecycle {
    precondition {
      condition     = var.sweep_schedule == "off" || join("", [var.alarm_email, var.datadog_secret_arn, var.slack_secret_arn]) != ""
      error_message = "No break-glass in silence. Name alarm_email, datadog_secret_arn or slack_secret_arn before the sweep is on."
    }
  }
}

resource "aws_iam_role" "sweep" {
  name                 = "${var.name}-break-glass-sweep-${local.region}"
  description          = "What the schedule of break-glass may do"
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

resource "aws_iam_role_policy" "sweep" {
  name = "sweep"
  role = aws_iam_role.sweep.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Sweep", Effect = "Allow", Action = "lambda:InvokeFunction", Resource = aws_lambda_alias.ops.arn },
      { Sid = "KeepWhatCouldNotBeInvoked", Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.missed_sweeps.arn },
    ]
  })
}

resource "aws_sqs_queue" "missed_sweeps" {
  name                      = "${var.name}-missed-sweeps"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
  tags                      = var.tags
}

locals {
  alarms = {
    sweep-missing = {
      description = "No sweep has ended well for three minutes, so perhaps nobody's sessions are ended. It rings until the sweep is on. Runbook infra/runbooks/database-at-night.md"
      metric      = "RunsOk"
      statistic   = "Sum"
      period      = 60
      periods     = 3
      operator    = "LessThanThreshold"
      threshold   = 1
      missing     = "breaching"
      tells_ok    = true
    }
    overstay = {
      description = "A login was there, or still is, 90 seconds after its end. Runbook infra/runbooks/database-at-night.md"
      metric      = "OverstaySeconds"
      statistic   = "Maximum"
      period      = 60
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 90
      missing     = "notBreaching"
      tells_ok    = true
    }
    unresolved = {
      description = "Something waits for a person (a login that cannot be dropped, one that nobody asked for, a bad document). Runbook infra/runbooks/database-at-night.md"
      metric      = "Unresolved"
      statistic   = "Maximum"
      period      = 60
      periods     = 16 # logins that nobody asked for are looked for every 15 minutes
      datapoints  = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = true
    }
    alert-failed = {
      description = "Datadog or Slack did not take an alert. Runbook infra/runbooks/database-at-night.md"
      metric      = "AlertFailed"
      statistic   = "Sum"
      period      = 300
      periods     = 1
      operator    = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      missing     = "notBreaching"
      tells_ok    = true
    }
    opened = {
      description = "Somebody was given a login within the last minute, perhaps several people. The log says who, where, and why. Runbook infra/runbooks/quarterly-access-review.md"
      metric      = "LoginsOpened"
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

  alarm_name          = "${var.name}-break-glass-${each.key}"
  alarm_description   = each.value.description
  namespace           = "Keyturn"
  metric_name         = each.value.metric
  dimensions          = { Function = module.break_glass.name }
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = lookup(each.value, "datapoints", null)
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [module.operations.topic_arn]
  ok_actions          = each.value.tells_ok ? [module.operations.topic_arn] : null
  tags                = var.tags
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-break-glass-${local.region}" # dashboards are the account's, not the region's
  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", { name = var.name, region = local.region })
}
