output "url" {
  description = "Where people ask, by break-glass.sh (BREAK_GLASS_URL)"
  value       = aws_lambda_function_url.this.function_url
}

output "break_glass_arn" {
  description = "The function, which nobody invokes without an alias"
  value       = module.break_glass.arn
}

output "url_alias_arn" {
  description = "For the policy of whoever may ask"
  value       = aws_lambda_alias.url.arn
}

output "ops_alias_arn" {
  description = "For aws lambda invoke, and the policy of operators"
  value       = aws_lambda_alias.ops.arn
}

output "break_glass_role_arn" {
  description = "For policies of keys"
  value       = module.break_glass.role_arn
}

output "break_glass_path" {
  description = "One parameter for each database goes below this path"
  value       = "${var.path}/databases"
}

output "alarm_topic_arn" {
  description = "Subscribe whatever wakes people"
  value       = module.operations.topic_arn
}

output "missed_sweeps_url" {
  description = "Sweeps that could not be invoked"
  value       = aws_sqs_queue.missed_sweeps.url
}
