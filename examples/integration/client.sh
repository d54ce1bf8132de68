#!/bin/sh
# An integration client as scripts of the 2000s have it: log in by address, cut the session out of the first Set-Cookie at its
# semicolon, query, keep alive, log off.       client.sh URL USER PASSWORD
set -eu
base=$1 user=$2 password=$3
head=$(mktemp) body=$(mktemp)
trap 'rm -f "$head" "$body"' EXIT

envelope='<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><ContactQueryPage_Input xmlns="urn:crmondemand/ws/ecbs/contact/"/></soap:Body></soap:Envelope>'
ask() { curl -s -D "$head" -o "$body" -w '%{http_code}' "$@"; }
query() {
    ask -H "Cookie: JSESSIONID=$1" -H 'Content-Type: text/xml' \
        -H 'SOAPAction: "document/urn:crmondemand/ws/ecbs/contact/:ContactQueryPage"' -d "$envelope" "$base/Services/Integration/Contact"
}

echo "login $(ask -H "UserName: $user" -H "Password: $password" -H 'X-ClientName: Acme Ltd, client.sh' "$base/Services/Integration?command=login")"
cookie=$(tr -d '\r' <"$head" | grep -i '^set-cookie:' | head -n 1 | sed 's/^[^:]*: *//; s/;.*//')
case $cookie in JSESSIONID=*) session=${cookie#JSESSIONID=} ;; *) echo "no session: $(sed 's/<[^>]*>/ /g' "$body")"; exit 1 ;; esac
echo "query $(query "$session")"
sleep 0.1 # The service wants 50 ms between two requests of a session.
echo "keep-alive $(query "$session")"
echo "logoff $(ask -H "Cookie: JSESSIONID=$session" "$base/Services/Integration?command=logoff;")"
echo "afterwards $(query "$session") $(grep -o 'SBL-ODU-[0-9]*' "$body")"
