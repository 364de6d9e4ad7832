package dmarc

// Reports as receivers write them: the shapes are theirs, the rest is made up.

// rfc7489 is the older kind: no namespace, tabs, pct, a reason, two signatures.
const rfc7489 = `<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
	<version>1.0</version>
	<report_metadata>
		<org_name>mailhost.example</org_name>
		<email>noreply-dmarc@mailhost.example</email>
		<extra_contact_info>https://mailhost.example/dmarc</extra_contact_info>
		<report_id>10954321987654321</report_id>
		<date_range>
			<begin>1793491200</begin>
			<end>1793577599</end>
		</date_range>
	</report_metadata>
	<policy_published>
		<domain>Example.COM</domain>
		<adkim>r</adkim>
		<aspf>s</aspf>
		<p>quarantine</p>
		<sp>none</sp>
		<pct>100</pct>
	</policy_published>
	<record>
		<row>
			<source_ip>192.0.2.25</source_ip>
			<count>1204</count>
			<policy_evaluated>
				<disposition>none</disposition>
				<dkim>pass</dkim>
				<spf>fail</spf>
			</policy_evaluated>
		</row>
		<identifiers>
			<header_from>example.com</header_from>
		</identifiers>
		<auth_results>
			<dkim>
				<domain>example.com</domain>
				<result>pass</result>
				<selector>s1</selector>
			</dkim>
			<spf>
				<domain>em1.example.com</domain>
				<result>pass</result>
			</spf>
		</auth_results>
	</record>
	<record>
		<row>
			<source_ip>2001:db8::1</source_ip>
			<count>3</count>
			<policy_evaluated>
				<disposition>none</disposition>
				<dkim>fail</dkim>
				<spf>fail</spf>
				<reason>
					<type>local_policy</type>
					<comment>arc=pass &amp; known list</comment>
				</reason>
			</policy_evaluated>
		</row>
		<identifiers>
			<header_from>news.example.com</header_from>
		</identifiers>
		<auth_results>
			<dkim>
				<domain>example.com</domain>
				<result>fail</result>
				<selector>s1</selector>
			</dkim>
			<dkim>
				<domain>list.example.org</domain>
				<result>pass</result>
				<selector>k</selector>
			</dkim>
			<spf>
				<domain>list.example.org</domain>
				<result>hardfail</result>
			</spf>
		</auth_results>
	</record>
</feedback>
`

// rfc9990 is the newer kind: its namespace, an extension, comments, the new fields.
const rfc9990 = `<?xml version="1.0"?>
<!-- made hourly -->
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0" xmlns:ext="urn:example:extension">
  <report_metadata>
    <org_name>Receiver Org</org_name>
    <email>dmarc@receiver.example.org</email>
    <report_id>3v98abbp8ya9n3va8yr8oa3ya</report_id>
    <date_range><begin>1793491200</begin><end>1793577600</end></date_range>
    <error>1 row was lost</error>
    <generator>Reporter 2.1</generator>
  </report_metadata>
  <policy_published>
    <domain>example.com</domain>
    <discovery_method>treewalk</discovery_method>
    <p>reject</p>
    <np>reject</np>
    <fo>1</fo>
    <adkim>s</adkim>
    <testing>y</testing>
  </policy_published>
  <extension><ext:arc-override>never</ext:arc-override></extension>
  <record>
    <row>
      <source_ip>::ffff:198.51.100.7</source_ip>
      <count>17</count>
      <policy_evaluated>
        <disposition>pass</disposition><dkim>pass</dkim><spf>pass</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_to>receiver.example.org</envelope_to>
      <envelope_from>em1.example.com</envelope_from>
      <header_from>example.com</header_from>
    </identifiers>
    <auth_results>
      <spf><domain>em1.example.com</domain><scope>mfrom</scope><result>pass</result><human_result>fine</human_result></spf>
      <dkim><domain>example.com</domain><selector>s1</selector><result>pass</result></dkim>
      <dkim><domain>example.com</domain><selector>s1e</selector><result>neutral</result></dkim>
    </auth_results>
    <ext:score>9<ext:record>not a record</ext:record></ext:score>
  </record>
  <record>
    <row>
      <source_ip>203.0.113.9</source_ip>
      <count>2</count>
      <policy_evaluated>
        <disposition>quarantine</disposition><dkim>fail</dkim><spf>fail</spf>
        <reason><type>policy_test_mode</type></reason>
      </policy_evaluated>
    </row>
    <identifiers><header_from>example.com</header_from></identifiers>
    <auth_results></auth_results>
  </record>
</feedback>`

// prefixed has its root in a namespace and the rest in none, and says that it is
// in another encoding; optional parts are missing, and the record stands first.
const prefixed = "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"windows-1252\"?>\r\n" +
	"<d:feedback xmlns:d='http://dmarc.org/dmarc-xml/0.1' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\r\n" +
	"<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>\r\n" +
	"<report_metadata><org_name>Caf\xe9 \x96 Post</org_name><email>r@cafe.example</email><report_id>a b</report_id>" +
	"<date_range><begin>1793491200</begin><end>1793491200</end></date_range></report_metadata>\r\n" +
	"<policy_published><domain>example.com.</domain><p>monitor</p></policy_published>\r\n" +
	"</d:feedback>\r\n"
