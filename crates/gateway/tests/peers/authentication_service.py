"""An authentication service of the multistep model, in spyne: GetOrder answers with the security header it was called with."""
import copy
import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from lxml import etree
from spyne import Application, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"


class Orders(ServiceBase):
    @rpc(Integer, _returns=Unicode, _out_message_name="Order", _out_variable_name="state")
    def GetOrder(ctx, id):
        return f"order {id} of {ctx.transport.req.get('HTTP_X_VESTIBULE_USER', 'nobody')}"


def with_header(ctx):
    """The consumer takes the header from here; it is for the services it calls next, not for itself to understand."""
    security = ctx.in_document.find(f"{{{SOAP}}}Header/{{{WSSE}}}Security")
    if security is None or ctx.out_document is None:
        return
    security = copy.deepcopy(security)
    security.attrib.pop(f"{{{SOAP}}}mustUnderstand", None)
    header = etree.Element(f"{{{SOAP}}}Header")
    header.append(security)
    ctx.out_document.insert(0, header)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


application = Application([Orders], "urn:example:orders", in_protocol=Soap11(), out_protocol=Soap11())
Orders.event_manager.add_listener("method_return_document", with_header)
server = WSGIServer(("127.0.0.1", 0), Quiet)
server.set_app(WsgiApplication(application))
print(server.server_port, flush=True)
server.serve_forever()
