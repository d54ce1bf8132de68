//gsoap o service name: Orders
//gsoap o service namespace: urn:example:orders
//gsoap o schema namespace: urn:example:orders
//gsoap o schema elementForm: qualified
//gsoap o service style: document
//gsoap o service encoding: literal
#import "wsse.h"
struct o__GetOrder { int id; };
struct o__Order { char *state; };
//gsoap o service method-action: GetOrder "urn:example:orders/GetOrder"
int __o__GetOrder(struct o__GetOrder *o__GetOrder, struct o__Order *o__Order);
