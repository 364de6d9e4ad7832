package dmarc

import "fmt"

// record reads one record and adds it.
func (p *parser) record() error {
	row := Row{Disposition: string(None)}
	counted := false
	err := p.children(func(name string) error {
		switch name {
		case "row":
			return p.children(func(name string) (err error) {
				switch name {
				case "source_ip":
					row.Addr, err = p.address()
				case "count":
					row.Count, err = p.number("count", maxCount)
					counted = true
				case "policy_evaluated":
					err = p.children(func(name string) error { return p.evaluated(name, &row) })
				default:
					err = p.skip()
				}
				return err
			})
		case "identifiers", "identities": // "identities" stands in examples of drafts, and in reports since
			return p.children(func(name string) error {
				switch name {
				case "header_from":
					return p.domain(&row.HeaderFrom)
				case "envelope_from":
					return p.domain(&row.EnvelopeFrom)
				case "envelope_to":
					return p.domain(&row.EnvelopeTo)
				}
				return p.skip()
			})
		case "auth_results":
			return p.children(func(name string) error { return p.results(name, &row) })
		}
		return p.skip()
	})
	if err != nil {
		return err
	}
	if !row.Addr.IsValid() || !counted {
		return fmt.Errorf("%w: a record without source_ip or count", ErrReport)
	}
	if row.HeaderFrom == "" {
		row.HeaderFrom = p.a.Published.Domain
	}
	p.a.Rows = append(p.a.Rows, row)
	return nil
}

func (p *parser) evaluated(name string, row *Row) error {
	passed := func(dst *bool) error {
		var s string
		err := p.word(&s, "fail", "pass")
		*dst = s == "pass"
		return err
	}
	switch name {
	case "disposition":
		return p.word(&row.Disposition, string(None), string(None), string(Quarantine), string(Reject), "pass")
	case "dkim":
		return passed(&row.DKIM)
	case "spf":
		return passed(&row.SPF)
	case "reason":
		var one Reason
		err := p.children(func(name string) error {
			switch name {
			case "type":
				return p.word(&one.Type, "other", "forwarded", "mailing_list", "trusted_forwarder", "sampled_out", "local_policy", "policy_test_mode")
			case "comment":
				return p.into(&one.Comment)
			}
			return p.skip()
		})
		if len(row.Reasons) < maxReasons && one.Type != "" {
			row.Reasons = append(row.Reasons, one)
		}
		return err
	}
	return p.skip()
}

// results reads one result of auth_results.
func (p *parser) results(name string, row *Row) error {
	var one Signature
	scope := ""
	if name != "dkim" && name != "spf" {
		return p.skip()
	}
	err := p.children(func(child string) error {
		switch child {
		case "domain":
			return p.domain(&one.Domain)
		case "selector":
			return p.domain(&one.Selector)
		case "scope":
			return p.word(&scope, "", "mfrom", "helo")
		case "result":
			return p.word(&one.Result, "unknown", "pass", "fail", "softfail", "neutral", "none", "policy", "permerror", "temperror", "hardfail", "error")
		}
		return p.skip()
	})
	switch one.Result { // the names of earlier drafts
	case "hardfail":
		one.Result = "fail"
	case "error":
		one.Result = "temperror"
	case "unknown":
		one.Result = "permerror"
	}
	switch {
	case err != nil || one.Result == "" && one.Domain == "":
	case name == "dkim" && len(row.Signatures) < maxSignResult:
		row.Signatures = append(row.Signatures, one)
	case name == "spf" && (row.SPFResult == "" || row.SPFResult != "pass" && one.Result == "pass"):
		row.SPFDomain, row.SPFScope, row.SPFResult = one.Domain, scope, one.Result
	}
	return err
}
