"""Asks an endpoint with zeep. Arguments: address, then name, password and source of each question."""
import sys

import zeep

client = zeep.Client(sys.argv[1] + "?wsdl")
for name, password, source in zip(sys.argv[2::3], sys.argv[3::3], sys.argv[4::3]):
    try:
        print(str(client.service.Authenticate(username=name, password=password, sourceIp=source)).lower())
    except zeep.exceptions.Fault as fault:
        print("fault", fault.message)
