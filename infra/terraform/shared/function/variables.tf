variable "function" {
  description = "What it is called after the name of the deployment."
  type        = string
}

variable "enabled" {
  description = "Whether it is there. Its log group always is."
  type        = bool
  default     = true
}

variable "description" {
  description = "What it does."
  type        = string
}

variable "function_arn" {
  description = "Its ARN, which its own policy names."
  type        = string
}

variable "role_name" {
  description = "What its role is called. Policies of keys and of other accounts name it."
  type        = string
}

variable "statements" {
  description = "What it may do, besides writing its log, tracing and joining a VPC: statements of an IAM policy."
  type        = any
}

variable "timeout" {
  description = "Seconds that an invocation may take."
  type        = number
}

variable "reserved_concurrent_executions" {
  description = "How many may run at once. Null means as many as the account has."
  type        = number
  default     = null
}

variable "variables" {
  description = "Its environment."
  type        = map(string)
}

variable "settings" {
  description = "What is the same for every function of the deployment: inputs of the outer module, by the same names."
  type = object({
    name                     = string
    architecture             = string
    package_folder           = string
    code_bucket              = string
    code_prefix              = string
    subnet_ids               = list(string)
    security_group_ids       = list(string)
    certificate_layer_arn    = string
    tracing                  = string
    code_signing_config_arn  = string
    environment_key_arn      = string
    log_retention_days       = number
    log_export_arn           = string
    log_export_role_arn      = string
    operations_key_arn       = string
    permissions_boundary_arn = string
    tags                     = map(string)
  })
}
