package mailsend

// The words of errors that several places use. Clients match on them.
const (
	example = "e.g. `{\"email\": \"example@example.com\"}` or `{\"email\": \"example@example.com\", \"name\": \"Example Recipient\"}`"

	textNoAddress = "Does not contain a valid address."

	textPersonalizations = "The personalizations field is required and must have at least one personalization."
	textTooManyBlocks    = "The personalization block is limited to 1000 personalizations per API request. You have provided %d personalizations. Please consider splitting this into multiple requests and resending your request."
	textTooManyRcpts     = "There is a limit of 1000 total recipients (to + cc + bcc) per request."
	textNoTo             = "The to array is required for all personalization objects, and must have at least one email object with a valid email address."
	textToObject         = "Each \"to\" object must at least have an email address and may also contain a name. " + example
	textRecipientObject  = "Each recipient object must at least have an email address and may also contain a name. " + example
	textTwice            = "Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [%s] in the %s field."

	textFromMissing = "The `from` object must be provided for every email send. It is an object that requires the `email` parameter, but may also contain a `name` parameter. " + example
	// The closing quote is missing where it comes from, too.
	textFromObject = "The from object must at least have an `email` parameter with a valid email address and may also contain a `name` parameter. e.g. `{\"email\": \"example@example.com\"}` or `{\"email\": \"example@example.com\", \"name\": \"Example Recipient\"}"
	textFromBad    = "The from email does not contain a valid address."
	textReplyTo    = "The `reply_to` object, when used, must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. " + example

	textSubjectShort   = "The subject of your email must be a string at least one character in length."
	textSubjectMissing = "The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined."
	textSubjectOne     = "The subject is required. You can get around this requirement if you use a template with a subject defined."

	textContentMissing = "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required."
	textContentNoType  = "A content type is required, this tells email clients how to display the email."
	textContentType    = "Your content type must be a string with length of at least one character."
	textContentBadType = "Cannot contain ';', or CRLF characters."
	textContentNoValue = "A content value is required, this is the content of the email you are sending."
	textContentValue   = "The content value must be a string at least one character in length."
	textContentOrder   = "Following RFC 1341, section 7.2, if either text/html or text/plain are to be sent in your email: text/plain needs to be first, followed by text/html, followed by any other content."

	textHeaderTwice = "The headers cannot contain duplicate keys."

	textArgsSize = "The combined size of both global and personalization custom arguments may not exceed 10,000 bytes per personalization."

	textSendAt = "The `send_at` parameter is expecting a Unix timestamp as an integer. We will send immediately if you include a `send_at` timestamp that is in the past."
	textTooFar = "Scheduling more than 72 hours in advance is forbidden."

	textSubstitutions = "The substitution values must be an object of key/value pairs, where the values are all strings."
)
