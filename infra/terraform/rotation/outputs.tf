output "rotate_postgres_arn" {
  description = "For rotation_lambda_arn. Null where rotate-postgres is off"
  value       = module.rotate_postgres.arn
}

output "rotate_postgres_role_arn" {
  description = "For policies of keys and of other accounts' secrets"
  value       = module.rotate_postgres.role_arn
}

output "rotate_mongo_arn" {
  description = "For rotation_lambda_arn. Null where rotate-mongo is off"
  value       = module.rotate_mongo.arn
}

output "rotate_mongo_role_arn" {
  description = "For policies of keys and of other accounts' secrets"
  value       = module.rotate_mongo.role_arn
}

output "alarm_topic_arn" {
  description = "Subscribe whatever wakes people"
  value       = module.operations.topic_arn
}
