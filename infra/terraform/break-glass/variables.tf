variable "admin_secret_arns" {
  description = "Full ARNs of the secrets with the admins that make and drop logins, one for each database or project. Those of RDS are called rds!..."
  type        = list(string)
}

variable "secrets_key_arns" {
  description = "ARNs of the customer managed KMS keys that encrypt any of these secrets. Empty where they use aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "permission_sets" {
  description = "Permission sets of IAM Identity Center whose holders may ask, each with the id of its role in this account, such as DBA:AROAEXAMPLEID1234567,SRE:AROAEXAMPLEID7654321. A role that is made anew has another id."
  type        = string

  validation {
    condition     = can(regex("^([A-Za-z0-9_+=.@-]+:AROA[A-Z0-9]{13,28}(,[A-Za-z0-9_+=.@-]+:AROA[A-Z0-9]{13,28})*)$", var.permission_sets))
    error_message = "Must be of the form [A-Za-z0-9_+=.@-]+:AROA[A-Z0-9]{13,28}(,[A-Za-z0-9_+=.@-]+:AROA[A-Z0-9]{13,28})*."
  }

  validation {
    condition     = length(var.permission_sets) <= 500
    error_message = "Must have 500 characters at most."
  }
}

variable "alarm_email" {
  description = "Address that every alarm is sent to, also that a login was opened, once it has confirmed. Empty where something else is told."
  type        = string
  default     = ""
}

variable "datadog_secret_arn" {
  description = "Full ARN of the secret to send alerts to Datadog with. Empty means none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+)$", var.datadog_secret_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+."
  }
}

variable "slack_secret_arn" {
  description = "Full ARN of the secret to send alerts to Slack with. Empty means none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+)$", var.slack_secret_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+."
  }
}

variable "sweep_schedule" {
  description = "Whether break-glass looks every minute whose login is over. Ask it for check first. Off, no login is opened, and none that is open is closed by itself."
  type        = string
  default     = "off"

  validation {
    condition     = contains(["on", "off"], var.sweep_schedule)
    error_message = "Must be one of on, off."
  }
}

variable "path" {
  description = "Path in Parameter Store below which the documents of databases and the records of open logins are. Two stacks take two. Close every login before it is changed."
  type        = string
  default     = "/prod/platform/break-glass"

  validation {
    condition     = can(regex("^((/[A-Za-z0-9_.-]+)+)$", var.path)) && !can(regex("/(aws|ssm)", var.path))
    error_message = "Must be a path such as /prod/platform/oncall-sync, without a part that begins with aws or ssm."
  }

  validation {
    condition     = length(var.path) <= 200
    error_message = "Must have 200 characters at most."
  }
}

variable "subnet_ids" {
  description = "Private subnets that reach the databases, Parameter Store and Secrets Manager (and Atlas, Datadog and Slack by NAT). Empty means no VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups for the function in these subnets. The databases' own have to let them in."
  type        = list(string)
  default     = []
}

variable "oncall_path" {
  description = "The Path of the stack oncall, whose ledgers say who is granted. They are only read."
  type        = string
  default     = "/prod/platform/oncall-sync"

  validation {
    condition     = can(regex("^((/[A-Za-z0-9_.-]+)+)$", var.oncall_path)) && !can(regex("/(aws|ssm)", var.oncall_path))
    error_message = "Must be a path such as /prod/platform/oncall-sync, without a part that begins with aws or ssm."
  }

  validation {
    condition     = length(var.oncall_path) <= 200
    error_message = "Must have 200 characters at most."
  }
}

variable "oncall_name" {
  description = "The Name of the stack oncall, whose log the report reads."
  type        = string
  default     = "keyturn"

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,19})$", var.oncall_name))
    error_message = "Must be of the form [a-z][a-z0-9-]{0,19}."
  }
}

variable "break_glass_settings" {
  description = "Other settings as one JSON object, such as {\"DATABASE_CA_FILE\":\"/opt/database-ca.pem\"}. The table of settings is in its manual."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|\\{[\\s\\S]*\\})$", var.break_glass_settings))
    error_message = "Must be empty, or of the form \\{[\\s\\S]*\\}."
  }

  validation {
    condition     = length(var.break_glass_settings) <= 1500
    error_message = "Must have 1500 characters at most."
  }
}

variable "architecture" {
  description = "The processor that the zip was built for. arm64 is a fifth cheaper."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Must be one of arm64, x86_64."
  }
}

variable "reserve_concurrency" {
  description = "Whether ten concurrent executions are reserved, so that the sweep has its turn where other functions use up the account's. AWS refuses it where fewer than 100 would be left for them: off until the limit is raised (quota L-B99A9384)."
  type        = string
  default     = "on"

  validation {
    condition     = contains(["on", "off"], var.reserve_concurrency)
    error_message = "Must be one of on, off."
  }
}

variable "certificate_layer_arn" {
  description = "A layer with PEM files, which the function finds in /opt. Empty where the compiled-in roots will do."
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
  description = "Code signing configuration of the function. Empty means none; with one, sign the zip with AWS Signer first."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:code-signing-config:csc-[a-z0-9]+)$", var.code_signing_config_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:code-signing-config:csc-[a-z0-9]+."
  }
}

variable "environment_key_arn" {
  description = "KMS key for the function's variables, none of which is a secret. Empty means Lambda's own."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+)$", var.environment_key_arn))
    error_message = "Must be empty, or of the form arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+."
  }
}

variable "log_retention_days" {
  description = "How many days logs are kept."
  type        = number
  default     = 3653

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
  description = "What the names of function, roles, log group and alarms begin with. Two stacks in one account and region need two. Not to be changed later, since what is retained keeps the old name."
  type        = string
  default     = "keyturn"

  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,19})$", var.name))
    error_message = "Must be of the form [a-z][a-z0-9-]{0,19}."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary for both roles. Empty means none."
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
