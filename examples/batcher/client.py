"""Ask the InferenceService for the species of three irises.

python client.py http://batcher-predictor.default.svc.cluster.local/v1/models/batcher:predict
"""

import json
import sys

import requests

irises = [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2], [4.7, 3.2, 1.3, 0.2]]
response = requests.post(sys.argv[1], data=json.dumps({"instances": irises}), timeout=60)
print(response.json())
