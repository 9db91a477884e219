//! Makes cargo notice a new migration file: `sqlx::migrate!` alone does not.
fn main() {
    println!("cargo:rerun-if-changed=src/ledger/migrations");
}
