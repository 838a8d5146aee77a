variable "rotate_postgres" {
  description = "Whether rotate-postgres is there."
  type        = string
  default     = "on"

  validation {
    condition     = contains(["on", "off"], var.rotate_postgres)
    error_message = "Must be one of on, off."
  }
}

variable "rotate_mongo" {
  description = "Whether rotate-mongo is there."
  type        = string
  default     = "off"

  validation {
    condition     = contains(["on", "off"], var.rotate_mongo)
    error_message = "Must be one of on, off."
  }
}

variable "alarm_email" {
  description = "Address that every alarm is sent to, once it has confirmed. Empty where something else subscribes to the topic."
  type        = string
  default     = ""
}

variable "subnet_ids" {
  description = "Private subnets from which the databases are reached. Empty means no VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups for the functions in these subnets. They need a way out to the databases and to Secrets Manager."
  type        = list(string)
  default     = []
}

variable "postgres_admin_secret_arns" {
  description = "Full ARNs of the admin secrets that rotate-postgres may use (what \"masterarn\" names), also of another account."
  type        = list(string)
  default     = []
}

variable "mongo_admin_secret_arns" {
  description = "Full ARNs of the admin secrets that rotate-mongo may use on servers of your own, also of another account."
  type        = list(string)
  default     = []
}

variable "atlas_secret_arn" {
  description = "Full ARN of the secret with Atlas's credential. Empty where nothing is at Atlas."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+)$", var.atlas_secret_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+."
  }
}

variable "atlas_project_ids" {
  description = "The only Atlas projects that may be touched."
  type        = list(string)
  default     = []
}

variable "secrets_key_arns" {
  description = "ARNs of the customer managed KMS keys that encrypt any of these secrets. Empty where they use aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "postgres_settings" {
  description = "Other settings of rotate-postgres as one JSON object, such as {\"STALE_SESSIONS\":\"fail\"}. The table of settings is in its manual."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|\\{[\\s\\S]*\\})$", var.postgres_settings))
    error_message = "Must be empty, or of the form \\{[\\s\\S]*\\}."
  }

  validation {
    condition     = length(var.postgres_settings) <= 1500
    error_message = "Must have 1500 characters at most."
  }
}

variable "mongo_settings" {
  description = "Other settings of rotate-mongo as one JSON object, such as {\"STRATEGY\":\"alternating\"}. The table of settings is in its manual."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|\\{[\\s\\S]*\\})$", var.mongo_settings))
    error_message = "Must be empty, or of the form \\{[\\s\\S]*\\}."
  }

  validation {
    condition     = length(var.mongo_settings) <= 1500
    error_message = "Must have 1500 characters at most."
  }
}

variable "environment" {
  description = "What {env} stands for in the names of MongoDB users."
  type        = string
  default     = "prod"

  validation {
    condition     = can(regex("^([a-z0-9-]{1,20})$", var.environment))
    error_message = "Must be of the form [a-z0-9-]{1,20}."
  }
}

variable "architecture" {
  description = "The processor that the zips were built for. arm64 is a fifth cheaper."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Must be one of arm64, x86_64."
  }
}

variable "certificate_layer_arn" {
  description = "A layer with PEM files, which the functions find in /opt. Empty where the compiled-in roots will do."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:layer:.+)$", var.certificate_layer_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:layer:.+."
  }
}

variable "tracing" {
  description = "X-Ray. Active needs a way out to X-Ray from a VPC."
  type        = string
  default     = "PassThrough"

  validation {
    condition     = contains(["PassThrough", "Active"], var.tracing)
    error_message = "Must be one of PassThrough, Active."
  }
}

variable "code_signing_config_arn" {
  description = "Code signing configuration of the functions. Empty means none; with one, sign the zips with AWS Signer first."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:code-signing-config:csc-[a-z0-9]+)$", var.code_signing_config_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:code-signing-config:csc-[a-z0-9]+."
  }
}

variable "environment_key_arn" {
  description = "KMS key for the functions' variables, none of which is a secret. Empty means Lambda's own."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+)$", var.environment_key_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+."
  }
}

variable "check_secret_arns" {
  description = "Full ARNs of secrets that `check` may read before a rotation is attached to them."
  type        = list(string)
  default     = []
}

variable "postgres_mirror_secret_arns" {
  description = "Full ARNs of the secrets that RDS Proxy logs in with, which rotate-postgres keeps up to date (tags keyturn:mirror.USER)."
  type        = list(string)
  default     = []
}

variable "postgres_iam_admins" {
  description = "For admins that log in by IAM, the rds-db ARNs of their database users (arn:aws:rds-db:REGION:ACCOUNT:dbuser:RESOURCE-ID/USER)."
  type        = list(string)
  default     = []
}

variable "rotation_events" {
  description = "Which ends of rotations the topic is told, per secret. They come from CloudTrail, which needs a trail."
  type        = string
  default     = "failures"

  validation {
    condition     = contains(["failures", "all", "none"], var.rotation_events)
    error_message = "Must be one of failures, all, none."
  }
}

variable "label_updated_target_arn" {
  description = "Queue, topic, bus, API destination or state machine that is handed \"Secret Label Updated\" whenever AWSCURRENT has moved."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:[a-z0-9-]+:.+)$", var.label_updated_target_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:[a-z0-9-]+:.+."
  }
}

variable "label_updated_role_arn" {
  description = "Role that EventBridge takes to reach that target. Empty for queues and topics, whose own policy lets events.amazonaws.com in."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)$", var.label_updated_role_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:iam::[0-9]{12}:role/.+."
  }
}

variable "log_retention_days" {
  description = "How many days logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of 7, 14, 30, 60, 90, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "log_export_arn" {
  description = "Firehose or Kinesis stream that every log line goes to as well, into a bucket with object lock for example."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:(firehose|kinesis):[a-z0-9-]+:[0-9]{12}:.+)$", var.log_export_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:(firehose|kinesis):[a-z0-9-]+:[0-9]{12}:.+."
  }
}

variable "log_export_role_arn" {
  description = "Role that CloudWatch Logs takes to write to that stream."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)$", var.log_export_role_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:iam::[0-9]{12}:role/.+."
  }
}

variable "operations_key_arn" {
  description = "KMS key for logs and the alarm topic; its policy has to allow both services (security.md). Empty means that one is made."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+)$", var.operations_key_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+."
  }
}

variable "name" {
  description = "What the names of functions, roles, log groups and alarms begin with. Two stacks in one account and region need two. Not to be changed later, since what is retained keeps the old name."
  type        = string
  default     = "keyturn"

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,19})$", var.name))
    error_message = "Must be of the form [a-z][a-z0-9-]{0,19}."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary for all roles. Empty means none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+)$", var.permissions_boundary_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+."
  }
}

# Where the zips are

variable "package_folder" {
  description = "Folder with the zips, <function>/bootstrap.zip: target/lambda of a checkout after `make package`, or lambda of a release's tar. Empty where they are in code_bucket."
  type        = string
  default     = ""
}

variable "code_bucket" {
  description = "Bucket of this region that the zips of a release were copied to. Empty where they are in package_folder."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|[a-z0-9.-]{3,63})$", var.code_bucket))
    error_message = "Must be empty, or of the form [a-z0-9.-]{3,63}."
  }
}

variable "code_prefix" {
  description = "What the names of the zips there begin with, up to a slash: one folder for each release."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|.+/)$", var.code_prefix))
    error_message = "Must be empty, or of the form .+/."
  }
}

variable "tags" {
  description = "Tags of everything that can have them."
  type        = map(string)
  default     = {}
}
