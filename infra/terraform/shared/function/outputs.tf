output "name" {
  description = "Name of the function, null where it is not there."
  value       = one(aws_lambda_function.this[*].function_name)
}

output "arn" {
  description = "ARN of the function, null where it is not there."
  value       = one(aws_lambda_function.this[*].arn)
}

output "role_arn" {
  description = "ARN of its role, null where it is not there."
  value       = one(aws_iam_role.this[*].arn)
}
