variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "topic_name" {
  description = "What the topic is called."
  type        = string
}

variable "key_description" {
  description = "What the key is for."
  type        = string
}

variable "events_rule_arns" {
  description = "EventBridge rules that may send to the topic."
  type        = list(string)
  default     = []
}

variable "alarm_email" {
  description = "Address that every alarm is sent to. Empty means none."
  type        = string
}

variable "operations_key_arn" {
  description = "KMS key for logs and the topic. Empty means that one is made."
  type        = string
}

variable "tags" {
  description = "Tags of the key and of the topic."
  type        = map(string)
}
