package mailsend

// Body is the shape of a request, for its documentation: Parse reads the text
// itself, because it has to say of each member what is wrong with it.
type Body struct {
	Personalizations []BodyPersonalization `json:"personalizations"`
	From             BodyEmail             `json:"from"`
	ReplyTo          *BodyEmail            `json:"reply_to,omitempty"`
	ReplyToList      []BodyEmail           `json:"reply_to_list,omitempty"`
	Subject          string                `json:"subject,omitempty"`
	Content          []BodyContent         `json:"content,omitempty"`
	Attachments      []BodyAttachment      `json:"attachments,omitempty"`
	TemplateID       string                `json:"template_id,omitempty"` // refused
	Headers          map[string]string     `json:"headers,omitempty"`
	Sections         map[string]string     `json:"sections,omitempty"`
	Categories       []string              `json:"categories,omitempty"`
	CustomArgs       map[string]string     `json:"custom_args,omitempty"`
	SendAt           int64                 `json:"send_at,omitempty"` // Unix seconds, at most 72 hours ahead
	BatchID          string                `json:"batch_id,omitempty"`
	ASM              *BodyASM              `json:"asm,omitempty"` // refused
	IPPoolName       string                `json:"ip_pool_name,omitempty"`
	MailSettings     *BodyMailSettings     `json:"mail_settings,omitempty"`
	TrackingSettings *BodyTracking         `json:"tracking_settings,omitempty"`
}

// BodyPersonalization asks for one message.
type BodyPersonalization struct {
	From          *BodyEmail        `json:"from,omitempty"`
	To            []BodyEmail       `json:"to"`
	CC            []BodyEmail       `json:"cc,omitempty"`
	BCC           []BodyEmail       `json:"bcc,omitempty"`
	Subject       string            `json:"subject,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
	Substitutions map[string]string `json:"substitutions,omitempty"`
	TemplateData  map[string]any    `json:"dynamic_template_data,omitempty"` // refused
	CustomArgs    map[string]string `json:"custom_args,omitempty"`
	SendAt        int64             `json:"send_at,omitempty"`
}

// BodyEmail is an address.
type BodyEmail struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
}

// BodyContent is one alternative.
type BodyContent struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// BodyAttachment is one file.
type BodyAttachment struct {
	Content     string `json:"content"` // base64
	Type        string `json:"type,omitempty"`
	Filename    string `json:"filename"`
	Disposition string `json:"disposition,omitempty"` // inline or attachment
	ContentID   string `json:"content_id,omitempty"`
}

// BodyASM names unsubscribe groups.
type BodyASM struct {
	GroupID         int64   `json:"group_id"`
	GroupsToDisplay []int64 `json:"groups_to_display,omitempty"`
}

// BodySwitch is a setting that is on or off.
type BodySwitch struct {
	Enable bool `json:"enable"`
}

// BodyMailSettings are the settings of one request.
type BodyMailSettings struct {
	BypassList        *BodySwitch `json:"bypass_list_management,omitempty"`
	BypassSpam        *BodySwitch `json:"bypass_spam_management,omitempty"`
	BypassBounce      *BodySwitch `json:"bypass_bounce_management,omitempty"`
	BypassUnsubscribe *BodySwitch `json:"bypass_unsubscribe_management,omitempty"`
	Footer            *BodyFooter `json:"footer,omitempty"`
	SandboxMode       *BodySwitch `json:"sandbox_mode,omitempty"`
}

// BodyFooter goes under the content.
type BodyFooter struct {
	Enable bool   `json:"enable"`
	Text   string `json:"text,omitempty"`
	HTML   string `json:"html,omitempty"`
}

// BodyTracking must be off where it is given.
type BodyTracking struct {
	Click        *BodyClick  `json:"click_tracking,omitempty"`
	Open         *BodyOpen   `json:"open_tracking,omitempty"`
	Subscription *BodySwitch `json:"subscription_tracking,omitempty"`
	Analytics    *BodySwitch `json:"ganalytics,omitempty"`
}

// BodyClick is click tracking.
type BodyClick struct {
	Enable     bool `json:"enable"`
	EnableText bool `json:"enable_text,omitempty"`
}

// BodyOpen is open tracking.
type BodyOpen struct {
	Enable          bool   `json:"enable"`
	SubstitutionTag string `json:"substitution_tag,omitempty"`
}
