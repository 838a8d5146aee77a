# Attaches a rotation to a secret that Terraform makes. Use it where secrets are in Terraform. Change var.name.
# The value is never in the state: apply, put the value in with secrets/create.sh, apply again with has_value=true.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.32, < 7.0" # 5.32: rotate_immediately
    }
  }
}

variable "name" {
  description = "Name of the secret, below /{environment}/{team}/ of the stack keyturn."
  type        = string
  default     = "/prod/platform/orders"

  validation {
    condition     = can(regex("^/[a-z0-9-]+/[a-z0-9-]+/.+$", var.name))
    error_message = "The functions reach secrets named /{environment}/{team}/... only."
  }
}

variable "function" {
  description = "Which function rotates it. Its role reaches nothing without this tag."
  type        = string
  default     = "rotate-postgres"

  validation {
    condition     = contains(["rotate-postgres", "rotate-mongo"], var.function)
    error_message = "One of rotate-postgres and rotate-mongo."
  }
}

variable "stack" {
  description = "Name of Keyturn's stack."
  type        = string
  default     = "keyturn"
}

variable "has_value" {
  description = "Whether the secret has its value by now. Nothing is attached before."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "Customer managed KMS key for it, one of the stack's SecretsKeyArns. Null means aws/secretsmanager."
  type        = string
  default     = null
}

data "aws_lambda_function" "rotation" {
  function_name = "${var.stack}-${var.function}"
}

resource "aws_secretsmanager_secret" "this" {
  name       = var.name
  kms_key_id = var.kms_key_arn

  tags = {
    "keyturn:function" = var.function
  }

  lifecycle {
    prevent_destroy = true # with the secret, the only copy of the password would go
  }
}

# Do not add an aws_secretsmanager_secret_version: its value lands in the state, and an apply after a rotation puts the old
# password back. Where one is there already, let Terraform forget it without destroying it: from 1.7 on, in its place,
#   removed {
#     from = aws_secretsmanager_secret_version.this
#     lifecycle { destroy = false }
#   }
# or, before 1.7: terraform state rm aws_secretsmanager_secret_version.this (and take the block out). Then rotate twice: old
# state files still hold the password.

# No aws_lambda_permission: the stack lets Secrets Manager of its own account invoke the function.
resource "aws_secretsmanager_secret_rotation" "this" {
  count = var.has_value ? 1 : 0

  secret_id           = aws_secretsmanager_secret.this.id
  rotation_lambda_arn = data.aws_lambda_function.rotation.arn
  rotate_immediately  = false # an apply only runs testSecret, which changes nothing

  rotation_rules {
    schedule_expression = "cron(0 3 ? * SUN *)"
    duration            = "2h"
  }
}

output "secret_arn" {
  value = aws_secretsmanager_secret.this.arn
}
