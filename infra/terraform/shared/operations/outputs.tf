output "topic_arn" {
  description = "ARN of the topic."
  value       = aws_sns_topic.this.arn
}

output "key_arn" {
  description = "ARN of the key: the one that was told, or the one that was made."
  value       = local.key_arn
}
