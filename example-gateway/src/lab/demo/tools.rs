//! The agent's tools. Their results are fixed; a real agent would look them up.

use serde_json::{Value, json};

/// The tools in the shape of chat completions.
pub(super) fn definitions() -> Value {
    let database = json!({"type": "string", "enum": ["postgresql", "mongodb"]});
    let feature = json!({"type": "string", "description": "For example acid_transactions"});
    let of_database = json!({"database": database});
    let of_both = json!({"database": database, "feature": feature});
    json!([
        definition("get_db_benchmarks", "Throughput and latency of a database", &of_database),
        definition("get_case_studies", "Shops that run on a database", &of_database),
        definition("check_feature_support", "Whether a database has a feature", &of_both),
    ])
}

fn definition(name: &str, description: &str, properties: &Value) -> Value {
    let required = properties.as_object().map(|properties| properties.keys().collect::<Vec<_>>());
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    json!({"type": "function", "function": {
        "name": name, "description": description, "parameters": parameters
    }})
}

/// The result of a call with JSON `arguments`; a call that makes no sense gets an `error`.
pub(super) fn call(name: &str, arguments: &str) -> Value {
    let arguments = serde_json::from_str::<Value>(arguments).unwrap_or_default();
    let postgres = match arguments.get("database").and_then(Value::as_str) {
        Some("postgresql") => true,
        Some("mongodb") => false,
        _ => return json!({"error": "unknown database; it is one of postgresql, mongodb"}),
    };
    match (name, postgres) {
        ("get_db_benchmarks", true) => {
            json!({"reads_per_s": 52_000, "transactions_per_s": 18_400, "p99_ms": 9})
        }
        ("get_db_benchmarks", false) => {
            json!({"reads_per_s": 71_000, "transactions_per_s": 9_100, "p99_ms": 14})
        }
        ("get_case_studies", true) => {
            json!([{"shop": "marketplace", "orders_per_day": 900_000, "kept_for_years": 8}])
        }
        ("get_case_studies", false) => {
            json!([{"shop": "catalogue", "products": 40_000_000, "orders_kept_elsewhere": true}])
        }
        ("check_feature_support", _) => json!({
            "feature": arguments.get("feature"),
            "supported": true,
            "across_tables_by_default": postgres
        }),
        _ => json!({"error": "unknown tool"}),
    }
}
