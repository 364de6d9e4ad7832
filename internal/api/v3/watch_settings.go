package v3

import (
	"net/http"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/watch"
	"postern/internal/webhook"
)

const (
	maxWatchMail = 10
	// secretOverlap is how long both secrets sign after one was made anew.
	secretOverlap = 24 * time.Hour
)

type watchSettingsView struct {
	Rules          []watchRuleView `json:"rules"`
	MailTo         []string        `json:"mail_to" doc:"empty: the account's owner"`
	NoMail         bool            `json:"no_mail"`
	Webhook        string          `json:"webhook"`
	WebhookSecrets int             `json:"webhook_secrets" doc:"how many secrets sign: two while one is changed"`
	SecretUntil    *time.Time      `json:"secret_until" doc:"until then the secret before signs too"`
	WebhookSecret  string          `json:"webhook_secret,omitempty" doc:"a new secret; it is shown once"`
}

type watchRuleView struct {
	Rule          relay.WatchRule     `json:"rule"`
	What          string              `json:"what"`
	Off           bool                `json:"off"`
	Answer        relay.WatchAnswer   `json:"answer"`
	DefaultAnswer relay.WatchAnswer   `json:"default_answer"`
	Answers       []relay.WatchAnswer `json:"answers" doc:"those that the rule may have"`
	Margin        float64             `json:"margin" doc:"1 is the rule's own measure; 2 twice as far"`
	Floor         int64               `json:"floor" doc:"the least number that is worth a finding; 0: the rule's own"`
}

type watchSettingsRequest struct {
	Rules   map[relay.WatchRule]watchRuleRequest `json:"rules,omitempty"`
	MailTo  *[]string                            `json:"mail_to,omitempty"`
	NoMail  *bool                                `json:"no_mail,omitempty"`
	Webhook *string                              `json:"webhook,omitempty"`
	// RotateSecret makes a new secret; the one before signs for another day.
	RotateSecret bool `json:"rotate_secret,omitempty"`
}

type watchRuleRequest struct {
	Off    *bool              `json:"off,omitempty"`
	Answer *relay.WatchAnswer `json:"answer,omitempty"`
	Margin *float64           `json:"margin,omitempty"`
	Floor  *int64             `json:"floor,omitempty"`
}

// on puts what is given into a setting.
func (r *watchRuleRequest) on(s relay.WatchRuleSetting) relay.WatchRuleSetting {
	if r.Off != nil {
		s.Off = *r.Off
	}
	if r.Answer != nil {
		s.Answer = *r.Answer
	}
	if r.Margin != nil {
		s.Margin = *r.Margin
	}
	if r.Floor != nil {
		s.Floor = *r.Floor
	}
	return s
}

// withRules puts rules that a request names into settings.
func withRules(s relay.WatchSettings, in map[relay.WatchRule]watchRuleRequest) (relay.WatchSettings, error) {
	rules := make(map[relay.WatchRule]relay.WatchRuleSetting, len(s.Rules)+len(in))
	for r, v := range s.Rules {
		rules[r] = v
	}
	for r, v := range in {
		set := v.on(rules[r])
		if err := watch.CheckSetting(r, set); err != nil {
			return s, err
		}
		if rules[r] = set; set == (relay.WatchRuleSetting{}) {
			delete(rules, r)
		}
	}
	s.Rules = rules
	return s, nil
}

func viewWatch(c *Call, s *relay.WatchSettings, fresh string) watchSettingsView {
	out := watchSettingsView{MailTo: s.MailTo, NoMail: s.NoMail, Webhook: s.Webhook, WebhookSecrets: len(s.Secrets), WebhookSecret: fresh}
	if out.MailTo == nil {
		out.MailTo = []string{}
	}
	if len(s.Secrets) > 1 {
		if c.Now.Before(s.SecretUntil) {
			out.SecretUntil = &s.SecretUntil
		} else {
			out.WebhookSecrets = 1
		}
	}
	for _, r := range relay.WatchRules {
		set := s.Rule(r)
		out.Rules = append(out.Rules, watchRuleView{Rule: r, What: watch.Describe(r), Off: set.Off, Answer: set.Answer, DefaultAnswer: relay.DefaultWatchAnswer(r),
			Answers: watch.AnswersOf(r), Margin: set.Margin, Floor: set.Floor})
	}
	return out
}

func (a *API) showWatchSettings(c *Call) error {
	s, err := a.watchStore()
	if err != nil {
		return err
	}
	set, err := s.WatchSettings(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewWatch(c, &set, ""))
}

func (a *API) changeWatchSettings(c *Call) error {
	s, err := a.watchStore()
	if err != nil {
		return err
	}
	var in watchSettingsRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	defer a.State.edits.lock(c.Tenant.Account)()
	var set relay.WatchSettings
	var fresh string
	err = store.Again(func() error {
		was, err := s.WatchSettings(c.R.Context(), c.Tenant.Account)
		if err != nil {
			return err
		}
		set = was
		if fresh, err = a.editWatch(c, &set, &in); err != nil {
			return err
		}
		return s.SwapWatchSettings(c.R.Context(), c.By, c.Tenant.Account, was, set)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewWatch(c, &set, fresh))
}

// editWatch puts a request into settings. fresh is a new secret's text.
func (a *API) editWatch(c *Call, set *relay.WatchSettings, in *watchSettingsRequest) (fresh string, err error) {
	if *set, err = withRules(*set, in.Rules); err != nil {
		return "", err
	}
	if in.MailTo != nil {
		if len(*in.MailTo) > maxWatchMail {
			return "", invalid("mail_to", "At most %d addresses are told.", maxWatchMail)
		}
		for _, to := range *in.MailTo {
			if err := checkEmail("mail_to", to); err != nil {
				return "", err
			}
		}
		set.MailTo = *in.MailTo
	}
	if in.NoMail != nil {
		set.NoMail = *in.NoMail
	}
	if in.Webhook != nil && *in.Webhook != set.Webhook {
		// Another receiver has no business with the secret of the one before.
		set.Webhook, set.Secrets, set.SecretUntil = "", nil, time.Time{}
		if *in.Webhook != "" {
			// AP-17: judged here, and again at each dial.
			if set.Webhook, err = webhook.CheckURL(*in.Webhook, a.WebhookPorts); err != nil {
				return "", err
			}
		}
	}
	switch {
	case set.Webhook == "" && in.RotateSecret:
		return "", invalid("rotate_secret", "There is no webhook that a secret could be for.")
	case set.Webhook == "" || len(set.Secrets) > 0 && !in.RotateSecret:
		return "", nil
	}
	secret := webhook.NewSecret()
	before := set.Secrets
	set.Secrets = [][]byte{secret}
	if len(before) > 0 {
		set.Secrets = append(set.Secrets, before[0])
		set.SecretUntil = c.Now.Add(secretOverlap)
	}
	return webhook.SecretText(secret), nil
}
