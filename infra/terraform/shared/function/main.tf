# One Lambda function: its role, its log group, and what is the same for every function of Keyturn. infra/security.md says what
# each statement of the policy is for.

locals {
  is_in_vpc = length(var.settings.subnet_ids) > 0
  is_local  = var.settings.package_folder != ""

  network_interfaces = [
    "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
  ]

  statements = concat(
    var.statements,
    [
      {
        Sid      = "WriteLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
    ],
    var.settings.tracing != "Active" ? [] : [
      {
        Sid      = "Trace" # AWS takes no narrower resource
        Effect   = "Allow"
        Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
        Resource = "*"
      },
    ],
    !local.is_in_vpc ? [] : [
      {
        Sid      = "JoinVpc" # Lambda itself does this; AWS takes no narrower resource
        Effect   = "Allow"
        Action   = local.network_interfaces
        Resource = "*"
      },
    ],
    !local.is_in_vpc ? [] : [
      {
        Sid       = "KeepVpcFromTheCode"
        Effect    = "Deny"
        Action    = local.network_interfaces
        Resource  = "*"
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = var.function_arn } }
      },
    ],
  )
}

resource "aws_iam_role" "this" {
  count = var.enabled ? 1 : 0

  name                 = var.role_name
  description          = "What ${var.function} may do"
  permissions_boundary = var.settings.permissions_boundary_arn != "" ? var.settings.permissions_boundary_arn : null
  tags                 = var.settings.tags

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "this" {
  count = var.enabled ? 1 : 0

  name   = var.function
  role   = aws_iam_role.this[0].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_lambda_function" "this" {
  count = var.enabled ? 1 : 0

  function_name                  = "${var.settings.name}-${var.function}"
  description                    = var.description
  role                           = aws_iam_role.this[0].arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.settings.architecture]
  memory_size                    = 128 # the peak is below 16 MB
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrent_executions
  layers                         = var.settings.certificate_layer_arn != "" ? [var.settings.certificate_layer_arn] : null
  kms_key_arn                    = var.settings.environment_key_arn != "" ? var.settings.environment_key_arn : null
  code_signing_config_arn        = var.settings.code_signing_config_arn != "" ? var.settings.code_signing_config_arn : null
  tags                           = var.settings.tags

  # Another zip in the folder is seen by its hash; in the bucket by its name, hence one code_prefix for each release.
  filename         = local.is_local ? "${var.settings.package_folder}/${var.function}/bootstrap.zip" : null
  source_code_hash = local.is_local ? filebase64sha256("${var.settings.package_folder}/${var.function}/bootstrap.zip") : null
  s3_bucket        = local.is_local ? null : var.settings.code_bucket
  s3_key           = local.is_local ? null : "${var.settings.code_prefix}keyturn-${var.function}-${var.settings.architecture}.zip"

  environment {
    variables = var.variables
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = var.settings.tracing
  }

  dynamic "vpc_config" {
    for_each = local.is_in_vpc ? [1] : []

    content {
      subnet_ids         = var.settings.subnet_ids
      security_group_ids = var.settings.security_group_ids
    }
  }

  depends_on = [aws_iam_role_policy.this] # Lambda joins the VPC with it
}

# Evidence. It is there even without its function, and stays when Terraform destroys everything else or makes one of another name.
# To take it up again: terraform import (infra/terraform/README.md).
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.settings.name}-${var.function}"
  retention_in_days = var.settings.log_retention_days
  kms_key_id        = var.settings.operations_key_arn
  skip_destroy      = true
  tags              = var.settings.tags

  lifecycle {
    precondition {
      condition     = (var.settings.package_folder == "") != (var.settings.code_bucket == "")
      error_message = "Name one of package_folder and code_bucket."
    }

    precondition {
      condition     = (length(var.settings.subnet_ids) == 0) == (length(var.settings.security_group_ids) == 0)
      error_message = "subnet_ids and security_group_ids belong together."
    }

    precondition {
      condition     = (var.settings.log_export_arn == "") == (var.settings.log_export_role_arn == "")
      error_message = "log_export_arn and log_export_role_arn belong together."
    }
  }
}

resource "aws_cloudwatch_log_subscription_filter" "export" {
  count = var.settings.log_export_arn != "" ? 1 : 0

  name            = "export"
  log_group_name  = aws_cloudwatch_log_group.this.name
  filter_pattern  = ""
  destination_arn = var.settings.log_export_arn
  role_arn        = var.settings.log_export_role_arn
}
