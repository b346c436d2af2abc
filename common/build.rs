//! Builds the migrations in anew when one is added; the macro alone notices changes of known files only.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
