//! What the documents say is compared with what the code says.

use write_buffer::core::config::{OPTIONS, Takes};

#[test]
fn the_readme_lists_every_option_with_its_default() {
    let readme = include_str!("../README.md");
    for option in OPTIONS {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", option.name)))
            .unwrap_or_else(|| panic!("README.md has no row for the option {}", option.name));
        let default = row.split('|').nth(2).unwrap_or_default().trim();
        let expected = match option.takes {
            Takes::Int { default, .. } => default.to_string(),
            Takes::Word { default, .. } => default.to_owned(),
            Takes::Text | Takes::Map | Takes::Callable => continue,
        };
        let said = default.split(';').next().unwrap_or_default();
        assert_eq!(said, expected, "README.md on {}", option.name);
        if let Some(variable) = option.env {
            assert!(
                default.contains(variable),
                "README.md on {}: {variable} is missing",
                option.name
            );
        }
    }
}
