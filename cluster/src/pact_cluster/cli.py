"""`python -m pact_cluster`: the cluster from the command line."""

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence

from pact_cluster.baseimages import ensure_python_bases
from pact_cluster.engine import ensure_engine
from pact_cluster.errors import ClusterError
from pact_cluster.images import NAMES, build_images, load_images, machine_settings_in
from pact_cluster.kind import delete_cluster, ensure_cluster, env, find_cluster, leftovers_of, uses_local_images
from pact_cluster.report import Reporter
from pact_cluster.tools import COMMAND_TOOLS, TOOLS, ensure_tools
from pact_cluster.workspace import Workspace


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="pact_cluster", description=__doc__, epilog=_SWITCHES)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="from nothing to the whole loop, with the matrix at the end")
    commands.add_parser(
        "demo-break", help="a consumer expects a field that no provider serves: see what breaks, and why"
    )
    commands.add_parser("demo-fix", help="the FastAPI provider learns to serve it")
    commands.add_parser("demo-status", help="the objects and the matrix as they stand")
    commands.add_parser("up", help="create the cluster if there is none, wait until it is ready")
    down = commands.add_parser("down", help="remove the cluster and the engine that was started for it")
    down.add_argument("--purge", action="store_true", help="remove the cached tools and images too")
    commands.add_parser("status", help="say what runs")
    images = commands.add_parser("images", help="build images (default: all), print their references")
    images.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}, postgres")
    images.add_argument("--tag", help="the tag (default: made from each image's content)")
    load = commands.add_parser("load", help="build images (default: all) and load them into the cluster")
    load.add_argument("names", nargs="*", metavar="NAME")
    load.add_argument("--tag", help="the tag (default: made from each image's content)")
    check = commands.add_parser("check-image", help="fail if an image carries settings of this machine")
    check.add_argument("references", nargs="+", metavar="IMAGE")
    tools = commands.add_parser("tools", help="make sure of tools, print where they are")
    tools.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(sorted(TOOLS))}")
    commands.add_parser("skaffold-env", help="the same, and what skaffold.yaml asks of the environment")
    commands.add_parser("env", help='print export lines: eval "$(python -m pact_cluster env)"')
    return top


_SWITCHES = "Environment: CLUSTER=auto|kind|context:NAME, NODE_IMAGE=auto|official|local."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 it failed (one sentence says why), 2 the command line is wrong, 130 interrupted.
    """
    options = parser().parse_args(arguments)
    report = Reporter()
    actions: dict[str, Callable[[Workspace, argparse.Namespace, Reporter], int]] = {
        "up": _up,
        "down": _down,
        "status": _status,
        "images": _images,
        "load": _load,
        "check-image": _check,
        "tools": _tools,
        "env": _env,
        "skaffold-env": _skaffold_env,
        "demo": _demo,
        "demo-break": _demo,
        "demo-fix": _demo,
        "demo-status": _demo,
    }
    try:
        return actions[options.command](Workspace.find(), options, report)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was begun is taken up again by the next run.", file=sys.stderr)
        return 130


def _demo(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    from pact_cluster.demo import COMMANDS  # a second of imports that the other commands can do without

    return COMMANDS[options.command](workspace, report)


def _up(workspace: Workspace, _options: argparse.Namespace, report: Reporter) -> int:
    cluster = ensure_cluster(workspace, report)
    report.say(f"The cluster is ready: kube context {cluster.context}.")
    if cluster.sealed:
        report.say("Nothing in it can send a packet off this machine; NetworkPolicies are not enforced by its network.")
    report.say('To use it: eval "$(python -m pact_cluster env)"')
    return 0


def _down(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    if workspace.settings.context:
        report.say(f"The cluster {workspace.settings.context} is not ours: nothing was removed.")
        return 0
    delete_cluster(workspace, report)
    if options.purge and workspace.cache.exists():
        with report.step("Removing the cached tools and images"):
            shutil.rmtree(workspace.cache)
    left = leftovers_of(workspace)
    if left:
        report.say("Still there: " + "; ".join(left) + ".")
        return 1
    report.say("Nothing is left: no process, mount, cgroup, container, network device, iptables rule or state.")
    if not options.purge:
        report.say(f"Kept for a quick next start: {workspace.cache} (remove it with --purge).")
    return 0


def _status(workspace: Workspace, _options: argparse.Namespace, _report: Reporter) -> int:
    cluster = find_cluster(workspace)
    if cluster is None:
        print("no cluster runs")
        return 1
    values = {
        "context": cluster.context,
        "kubeconfig": str(cluster.kubeconfig or ""),
        "engine": "own" if cluster.engine and cluster.engine.own else "the machine's" if cluster.engine else "",
        "nodeImage": cluster.node_image,
        "sealed": cluster.sealed,
        "enforcesNetworkPolicies": cluster.enforces_network_policies,
    }
    print(json.dumps(values, indent=2))
    return 0


def _build(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> dict[str, str]:
    names = list(options.names)
    if not names:
        names = list(NAMES)
        if uses_local_images(workspace, ensure_engine(workspace, report), report):
            names.append("postgres")
    return build_images(workspace, dict.fromkeys(names, options.tag), report)


def _images(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    for reference in _build(workspace, options, report).values():
        print(reference)
    return 0


def _load(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    references = list(_build(workspace, options, report).values())
    load_images(workspace, references, report)
    for reference in references:
        print(reference)
    return 0


def _check(workspace: Workspace, options: argparse.Namespace, _report: Reporter) -> int:
    bad = 0
    for reference in options.references:
        traces = machine_settings_in(workspace, reference)
        bad += bool(traces)
        print(f"{reference}: {'; '.join(traces) if traces else 'carries no setting of this machine'}")
    return 1 if bad else 0


def _tools(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    for name, path in ensure_tools(workspace, options.names or COMMAND_TOOLS, report).items():
        print(f"{name}\t{path}")
    return 0


def _skaffold_env(workspace: Workspace, options: argparse.Namespace, report: Reporter) -> int:
    ensure_tools(workspace, ["skaffold", "helm", "kubectl"], report)
    engine = ensure_engine(workspace, report)
    if uses_local_images(workspace, engine, report):
        bases = ensure_python_bases(workspace, engine, report)
        print(f"export PYTHON_IMAGE={shlex.quote(bases.build)}")
        print(f"export RUNTIME_IMAGE={shlex.quote(bases.runtime)}")
        print("export SKAFFOLD_PROFILE=local")
    return _env(workspace, options, report)


def _env(workspace: Workspace, _options: argparse.Namespace, _report: Reporter) -> int:
    values = env(workspace)
    path = values.pop("PATH").split(":")
    ours = [part for part in path if part not in os.environ.get("PATH", "").split(":") or "pact-operator/tools" in part]
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(':'.join(ours))}:$PATH" if ours else "")
    return 0
