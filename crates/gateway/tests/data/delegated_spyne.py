"""A service that checks passwords, written to AuthenticationService.wsdl with spyne. Arguments: port, password."""
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, Boolean, ComplexModel, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

NS = "urn:authentication.soap.sforce.com"


class AuthenticateType(ComplexModel):
    __namespace__ = NS
    username = Unicode
    password = Unicode
    sourceIp = Unicode


class AuthenticateResult(ComplexModel):
    __namespace__ = NS
    Authenticated = Boolean


class Service(ServiceBase):
    @rpc(
        AuthenticateType,
        _returns=AuthenticateResult,
        _body_style="bare",
        _in_message_name="{%s}Authenticate" % NS,
        _out_message_name="{%s}AuthenticateResult" % NS,
    )
    def Authenticate(ctx, asked):
        right = asked.username == "sara" and asked.password == sys.argv[2] and asked.sourceIp == "127.0.0.1"
        return AuthenticateResult(Authenticated=right)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


app = Application([Service], tns=NS, in_protocol=Soap11(validator="soft"), out_protocol=Soap11())
make_server("127.0.0.1", int(sys.argv[1]), WsgiApplication(app), handler_class=Quiet).serve_forever()
