"""Contracts as a page that people read: tables, columns, rules, as Markdown.

Not here: what a contract means (`contracts.py`).
"""

from collections.abc import Mapping

from etl_assets.contracts import Contract, ContractColumn
from etl_assets.declarations import fresh_name
from etl_assets.rules import Rule


def write_page(contracts: Mapping[str, Contract], *, title: str) -> str:
    """One page for some assets.

    Args:
        contracts: By asset key.
        title: Heading of the page.
    """
    parts = [f"# {title}", "", "Made by `etl-assets contract docs`; do not edit.", ""]
    parts += [f"- [{key}](#{key.replace('/', '').lower()})" for key in contracts]
    for key, contract in contracts.items():
        parts += ["", *_section(key, contract)]
    return "\n".join(parts) + "\n"


def _section(key: str, contract: Contract) -> list[str]:
    lines = [f"## {key}", ""]
    if contract.description:
        lines += [contract.description, ""]
    if contract.primary_key:
        lines += [f"Primary key: {', '.join(f'`{name}`' for name in contract.primary_key)}.", ""]
    lines += ["| column | type | NULL | meaning |", "|---|---|---|---|"]
    lines += [_row(column) for column in contract.columns]
    rules = [rule for rule in contract.rules if rule.kind not in ("type", "not_null")]
    if rules or contract.freshness:
        lines += ["", "| rule | says | breaking it |", "|---|---|---|"]
        lines += [f"| `{rule.name}` | {_cell(rule.says)} | {_consequence(rule)} |" for rule in rules]
        lines += [
            f"| `{fresh_name(name)}` | the newest {name} is not older than {limit} | warn |" for name, limit in contract.freshness.items()
        ]
    return lines


def _row(column: ContractColumn) -> str:
    nullable = "yes" if column.nullable and not column.primary_key else "no"
    return f"| `{column.name}` | {column.postgres_type} | {nullable} | {_cell(column.description or '')} |"


def _consequence(rule: Rule) -> str:
    most = rule.most_failed
    if most is None:
        return rule.severity.value
    return f"{rule.severity.value}, at most {most:.1%}" if 0 < most < 1 else f"{rule.severity.value}, at most {most:g} rows"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


__all__ = ["write_page"]
