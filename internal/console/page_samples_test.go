package console

import "strings"

// One of everything, as the API answers.
func init() {
	for what, s := range map[string]string{
		"GET /v3/api_keys": `{"result":[` + oneKey + `]}`, "GET /v3/api_keys/k1": oneKey, "GET /v3/api_keys/k1/users": oneUser,
		"DELETE /v3/api_keys/k1": oneUser,

		"GET /v3/whitelabel/domains": `[` + oneDomain + `]`, "GET /v3/whitelabel/domains/7": oneDomain,
		"GET /v3/whitelabel/domains/7/records": `{"result":[],"host":{"id":"cloudflare","title":"Cloudflare","zone":"example.com","where":"DNS > Records"},
			"fields":[{"record":"dkim1","type":"CNAME","name":"p1._domainkey","value":"p1.dkim.relay.example.net","ttl":"Auto","proxy":"DNS only","note":"The proxy must be off."}]}`,
		"GET /v3/whitelabel/domains/7/dmarc": `{"domain":"example.com","messages":100,"aligned":98,"spf_aligned":60,"dkim_aligned":98,"failing":2,"reports":3,
			"days":[{"date":"2026-03-01","messages":60,"aligned":60},{"date":"2026-03-02","messages":40,"aligned":38,"failing":2}],
			"reporters":[{"org_name":"Receiver Inc","reports":3,"messages":100,"last":"2026-03-03T00:00:00Z","why":"too few days"}],
			"sources":[{"source_ip":"192.0.2.1","ours":true,"messages":98,"header_from":["example.com"]},{"source_ip":"198.51.100.9","messages":2,"failing":2,"header_from":["example.com"],"why":["no signature"]}],
			"readiness":{"quarantine":true,"reject":false,"aligned_share":0.98,"because":["98 % of the mail is aligned"]},
			"recommendation":{"record":"v=DMARC1; p=quarantine","at":"_dmarc.example.com","why":"nothing would be lost"}}`,
		"GET /v3/whitelabel/domains/7/keys":          `{"result":[` + oneDKIM + `,{"selector":"p2","name":"p2._domainkey.example.com","state":"waiting","record":"v=DKIM1; p="}]}`,
		"GET /v3/whitelabel/domains/7/dmarc/reports": `{"result":[` + oneAggregate + `]}`,
		"GET /v3/whitelabel/domains/7/dmarc/report": strings.TrimSuffix(oneAggregate, "}") + `,"records":[{"source_ip":"192.0.2.1","ours":true,"messages":38,"header_from":"example.com","disposition":"none","spf_aligned":true,"dkim_aligned":true},
			{"source_ip":"198.51.100.9","messages":1,"header_from":"example.com","disposition":"reject","dkim":"pass else.test","reasons":"local_policy","why":["no signature"]},{"source_ip":"","messages":1}]}`,
		"GET /v3/user/profile":             `{"first_name":"Ann","last_name":"Lee","company":"Acme","address":"1 Main Street","address2":"","city":"Springfield","state":"","zip":"12345","country":"US","phone":"","website":"https://acme.example"}`,
		"GET /v3/verified_senders":         `{"results":[{"id":5,"nickname":"News","from_email":"news@example.net","reply_to":"help@example.net","verified":false}]}`,
		"GET /v3/verified_senders/domains": `{"results":{"soft_failures":["soft.example"],"hard_failures":["hard.example"]}}`,

		"GET /v3/logins": `{"result":[` + oneLogin + `],"after":"c1"}`,
		"GET /v3/logins/summary": `{"by_result":[{"name":"ok","count":90},{"name":"wrong","count":10}],"by_mechanism":[{"name":"PLAIN","count":100}],
			"by_tls":[{"name":"TLSv1.3","count":100}],"by_network":[{"name":"192.0.2.0/24","count":100}],"by_place":[{"name":"DE","count":90},{"name":"unknown","count":8},{"name":"other","count":2}],
			"since":"2026-02-25T12:00:00Z","until":"2026-03-04T12:00:00Z"}`,
		"GET /v3/changes": `{"result":[{"cursor":"c9","seq":9,"at":"2026-03-04T11:00:00Z","by":"user anna","from":"192.0.2.9","action":"domain.update","subject":"domain example.com",
			"before":{"default":false,"note":"old"},"after":{"default":true,"note":"new"}}],"after":"c9"}`,
		"GET /v3/changes/verify": `{"result":[{"username":"acme","valid":true,"records":9,"from":1,"to":9,"head":"q80="}]}`,
		"GET /v3/changes/head":   `{"result":[{"seq":9,"hash":"q80=","at":"2026-03-04T11:00:00Z","signature":"q80="}],"public_key":"q80="}`,
	} {
		samples[what] = s
	}
}

const oneDomain = `{"id":7,"domain":"example.com","username":"acme","default":true,"valid":false,"state":"pending","reason":"The record dkim1 is missing.",
	"return_path":"em7.example.com","ips":["192.0.2.70"],"last_validation_attempt_at":1772600000,"created_at":"2026-01-01T00:00:00Z","notify":true,
	"dkim":[{"selector":"p1","algorithm":"rsa","bits":2048,"state":"signing","active":true,"created_at":"2026-01-01T00:00:00Z"},{"selector":"p2","algorithm":"rsa","bits":2048,"state":"waiting","created_at":"2026-03-01T00:00:00Z"}],
	"records":[{"key":"dkim1","for":"DKIM key","name":"p1._domainkey.example.com","type":"CNAME","value":"p1.dkim.relay.example.net","required":true,"valid":false,"reason":"It points elsewhere.","found":["other.example"]},
		{"key":"mail_cname","for":"Return path","name":"em7.example.com","type":"CNAME","value":"u7.relay.example.net","required":true,"valid":true}],
	"findings":[{"severity":"error","code":"dkim_missing","record":"dkim1","text":"The alias points elsewhere.","fix":"Let it point to p1.dkim.relay.example.net.","where":"p1._domainkey.example.com","expected":"p1","found":"other.example"}],
	"dmarc":{"policy":"none","recommended":"v=DMARC1; p=quarantine","recommended_because":"nothing would be lost"},"subusers":[{"user_id":3,"username":"shop"}]}`

const oneDKIM = `{"selector":"p1","name":"p1._domainkey.example.com","algorithm":"rsa","bits":2048,"state":"signing","active":true,"record":"v=DKIM1; k=rsa; p=MIIB","created_at":"2026-01-01T00:00:00Z","seen_at":"2026-01-02T00:00:00Z","activated_at":"2026-01-02T00:00:00Z"}`

const oneAggregate = `{"org_name":"Receiver Inc","email":"dmarc@receiver.example","report_id":"2026-03-02!7","begin":"2026-03-02T00:00:00Z","end":"2026-03-02T23:59:59Z","received_at":"2026-03-03T06:00:00Z",
	"received_from":"192.0.2.25","policy_published":{"domain":"example.com","p":"none","sp":"quarantine","adkim":"s","aspf":"r","testing":true},"messages":40,"aligned":38,"spf_aligned":20,"dkim_aligned":38,"failing":2,"rejected":1}`

const oneLogin = `{"cursor":"c1","at":"2026-03-04T11:59:00Z","protocol":"smtp","listener":"submission","mechanism":"PLAIN","tried":"SG.abc","api_key_id":"k1",
	"addr":"192.0.2.7","network":"192.0.2.0/24","helo":"shop.example.com","tls":"TLSv1.3","result":"wrong","detail":"the secret of before","count":3,"place":"NL"}`
