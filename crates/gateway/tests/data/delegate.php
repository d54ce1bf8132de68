<?php
// Asks an endpoint with PHP's SoapClient. Arguments: address, then name, password and source of each question.
$client = new SoapClient($argv[1] . '?wsdl', ['cache_wsdl' => WSDL_CACHE_NONE]);
for ($at = 2; $at + 2 < $argc; $at += 3) {
    try {
        $asked = ['username' => $argv[$at], 'password' => $argv[$at + 1], 'sourceIp' => $argv[$at + 2]];
        echo $client->Authenticate($asked)->Authenticated ? "true\n" : "false\n";
    } catch (SoapFault $fault) {
        echo 'fault ', $fault->getMessage(), "\n";
    }
}
