//! The bootstrap.

fn main() -> Result<(), lambda_runtime::Error> {
    keyturn::lambda::run(break_glass::build)
}
