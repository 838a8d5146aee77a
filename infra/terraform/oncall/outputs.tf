output "oncall_sync_name" {
  description = "For aws lambda invoke"
  value       = module.oncall_sync.name
}

output "oncall_sync_role_arn" {
  description = "For policies of keys"
  value       = module.oncall_sync.role_arn
}

output "oncall_sync_path" {
  description = "One parameter for each binding goes below this path"
  value       = "${var.path}/bindings"
}

output "alarm_topic_arn" {
  description = "Subscribe whatever wakes people"
  value       = module.operations.topic_arn
}

output "missed_ticks_url" {
  description = "Ticks that could not be invoked"
  value       = aws_sqs_queue.missed_ticks.url
}
