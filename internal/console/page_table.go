package console

import "slices"

// resourcePages are the pages of what an account has; their files are page_*.go.
var resourcePages = slices.Concat(
	overviewPages, mailPages, manyPages, queuePages, poolPages,
	keyPages, domainPages, domainMorePages, dkimPages, dmarcPages, senderPages,
	watchPages, accessPages, loginRecordPages, changePages, auditPages,
	subuserPages, personPages, settingsPages,
)

// navGroups is the order of the navigation.
var navGroups = []string{"", "Mail", "Sending", "Security", "Account"}
