# Rotates the login of an application at RDS PostgreSQL, whose admin secret RDS manages. Use it where secrets are in Terraform.
# Copy it, and set source and the inputs of the module.
# The value is never in the state: apply, put the value in with secrets/create.sh, apply again with has_value=true.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

variable "database" {
  description = "Identifier of the RDS instance. It has manage_master_user_password."
  type        = string
}

variable "name" {
  description = "Name of the application's secret."
  type        = string
  default     = "/prod/platform/orders"
}

variable "tags" {
  description = "Settings of its rotation, such as keyturn:usernames (functions/rotate-postgres/README.md). None are needed at first."
  type        = map(string)
  default     = {}
}

variable "has_value" {
  description = "Whether the secret has its value by now. Nothing is attached before."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "Customer managed KMS key for the secret. Null means aws/secretsmanager."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "Private subnets from which the database is reached."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups for the function, with a way out to the database and to Secrets Manager."
  type        = list(string)
}

variable "alarm_email" {
  description = "Address that every alarm is sent to."
  type        = string
}

data "aws_db_instance" "this" {
  db_instance_identifier = var.database
}

module "rotation" {
  source = "../../../terraform/rotation"

  package_folder             = "target/lambda"
  alarm_email                = var.alarm_email
  subnet_ids                 = var.subnet_ids
  security_group_ids         = var.security_group_ids
  postgres_admin_secret_arns = [data.aws_db_instance.this.master_user_secret[0].secret_arn]
  secrets_key_arns           = compact([var.kms_key_arn])
}

resource "aws_secretsmanager_secret" "this" {
  name       = var.name
  kms_key_id = var.kms_key_arn
  tags       = var.tags

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

# It lets the function reach the secret: its role may use those secrets that it is attached to.
resource "aws_secretsmanager_secret_rotation" "this" {
  count = var.has_value ? 1 : 0

  secret_id           = aws_secretsmanager_secret.this.id
  rotation_lambda_arn = module.rotation.rotate_postgres_arn
  rotate_immediately  = false # an apply only runs testSecret, which changes nothing

  rotation_rules {
    schedule_expression = "cron(0 3 ? * SUN *)"
    duration            = "2h"
  }
}

output "secret_arn" {
  description = "For the application, and for secrets/create.sh."
  value       = aws_secretsmanager_secret.this.arn
}
