//! The Lambda function.

fn main() -> Result<(), lambda_runtime::Error> {
    keyturn::lambda::run(oncall_sync::build)
}
