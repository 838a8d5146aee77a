fn main() -> Result<(), lambda_runtime::Error> {
    keyturn::lambda::run(rotate_postgres::build)
}
