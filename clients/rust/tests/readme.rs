//! What the README shows is what the example does.
#![allow(clippy::expect_used)]

const README: &str = include_str!("../../../README.md");
const EXAMPLE: &str = include_str!("../examples/algo.rs");

#[test]
fn the_readme_shows_a_part_of_the_example_as_it_is() {
    let (_, behind) = README.split_once("```rust\n").expect("the README shows an algo");
    let (snippet, _) = behind.split_once("```").expect("a block ends");
    let indented: String = snippet.lines().map(|line| format!("    {line}\n")).collect();
    assert!(snippet.contains("Client::connect") && snippet.lines().count() > 10, "{snippet}");
    assert!(EXAMPLE.contains(&indented), "not in examples/algo.rs:\n{snippet}");
}
