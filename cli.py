"""The command line: its verbs in the order of `apfgan --help`, what a signal does to them, and the exit code of each kind of failure.

A verb is a function in a file of its own under `commands/`. Nothing heavy is imported until a verb needs it, so that `apfgan --help`
answers at once. Results go to standard output; progress and prose go to standard error; with `--json`, standard output holds one object
and nothing else.
"""

import json
import logging
import signal
import sys
from typing import Annotated, NoReturn

import typer

from apfgan import __version__
from apfgan.errors import ApfganError
from commands import (
    data,
    demo,
    doctor,
    export_original,
    fid,
    generate,
    import_original,
    judge,
    merge,
    merge_search,
    output_search,
    pick,
    rank,
    report,
    score,
    seed_search,
    submit,
    train,
    weights,
)
from commands.stopping import stop, stop_behind

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train a semantic image generator, score its checkpoints, and choose the one to hand in.",
)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("train")(train.train)
app.command("generate")(generate.generate)
app.command("score")(score.score)
app.command("rank")(rank.rank)
app.command("merge")(merge.merge)
app.command("import")(import_original.import_original)
app.command("export")(export_original.export_original)
app.command("merge-search")(merge_search.merge_search)
app.command("seed-search")(seed_search.seed_search)
app.command("output-search")(output_search.output_search)
app.command("pick")(pick.pick)
app.command("report")(report.report)
app.command("submit")(submit.submit)
app.command("fid")(fid.fid)

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a data set.")
app.add_typer(data_app, name="data")
data_app.command("check")(data.data_check)

weights_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Weights of judges and perceptual losses: what is here, and how to get the rest."
)
app.add_typer(weights_app, name="weights")
weights_app.command("list")(weights.weights_list)
weights_app.command("verify")(weights.weights_verify)
weights_app.command("fetch")(weights.weights_fetch)
weights_app.command("add")(weights.weights_add)

judge_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Judges of mask accuracy: fit one, and see what it is worth.")
app.add_typer(judge_app, name="judge")
judge_app.command("fit")(judge.judge_fit)
judge_app.command("check")(judge.judge_check)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line and exit with the code of the kind of failure (`apfgan.errors`; 130 and 143: stopped)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        app(obj=sys.argv[1:])
        code = 0
    except ApfganError as error:
        code = _fail(str(error), error.exit_code)
        logging.getLogger("apfgan").info("where it happened:", exc_info=error)
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has left; there is nobody to tell
        code = 0
    except BaseException as error:
        if (stopped := stop_behind(error)) is None:
            raise
        code = _fail("stopped. Everything finished so far is kept; the same command goes on from there.", stopped.code)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # all is done and the code is known: only leaving is left
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    print(f"apfgan: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
    return code


if __name__ == "__main__":
    main()
