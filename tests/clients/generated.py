"""A client that openapi-python-client has made of /api/openapi.json, in the folder `client` here: usage: generated.py HOST:PORT KEY ID"""

import sys

sys.path.insert(0, ".")
from client import AuthenticatedClient
from client.api.default import get_api_agreements_id, get_api_agreements_id_events, get_publisher_model

ADDRESS, KEY, ID = sys.argv[1:]
client = AuthenticatedClient(base_url=f"http://{ADDRESS}", token=KEY)
for route in [get_api_agreements_id, get_api_agreements_id_events]:
    answer = route.sync_detailed(id=ID, client=client)
    assert answer.status_code == 200, answer
model = get_publisher_model.sync_detailed(publisher="acme", model="echo@1.0.0", client=client)
assert model.status_code == 200, model
print("ok")
