"""How good generators are: scenes with known truth, references beside them, a table and a page."""

from getgan.training.evaluation.options import Contestant, Entry, EvaluationOptions, Origin
from getgan.training.evaluation.page import refuse_foreign_page, write_page
from getgan.training.evaluation.report import Report, report_from_json
from getgan.training.evaluation.run import evaluate
from getgan.training.evaluation.table import table

__all__ = [
    "Contestant",
    "Entry",
    "EvaluationOptions",
    "Origin",
    "Report",
    "evaluate",
    "refuse_foreign_page",
    "report_from_json",
    "table",
    "write_page",
]
