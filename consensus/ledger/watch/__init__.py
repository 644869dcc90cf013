"""Production against the profile of each row: what is counted, what is an incident, who is told."""

from consensus.ledger.watch.incident import Incident, acknowledge, incidents
from consensus.ledger.watch.looking import Look, Watched, look, standing
from consensus.ledger.watch.telling import tell
from consensus.ledger.watch.watcher import Watcher

__all__ = [
    "Incident",
    "Look",
    "Watched",
    "Watcher",
    "acknowledge",
    "incidents",
    "look",
    "standing",
    "tell",
]
