"""The ``d2ppo`` command line: one verb per file."""

from d2ppo_core.interrupt import end_quietly_while_loading

end_quietly_while_loading("d2ppo", "d2ppo_core.cli.main")
