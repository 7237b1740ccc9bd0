-- Rows that could not be placed, or that contradict another system: counted here so that nothing is dropped in silence.
-- One step for each rule.
{% set product_source = 'segment' if var('sources').segment.enabled else 'posthog' %}
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

links as (

    select * from {{ ref('int_customer_links__resolved') }}

),

visitors as (

    select * from {{ ref('int_visitors__identified') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

subscription_items as (

    select * from {{ ref('stg_stripe__subscription_items') }}

),

subscription_rows as (

    select
        id,
        {{ utc_timestamp('coalesce(_fivetran_start, start_date)') }} as valid_from,
        {{ utc_timestamp('_fivetran_start') }} as version_from,
        max(case when _fivetran_start is null then 0 else 1 end) over (partition by id) as is_history
    from {{ stripe('subscription_history') }}
    where id is not null

),

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

discounts as (

    select * from {{ ref('stg_stripe__discounts') }}

),

coupons as (

    select * from {{ ref('stg_stripe__coupons') }}

),

priced_subscriptions as (

    select * from {{ ref('int_subscriptions__priced') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

prices as (

    select * from {{ ref('stg_stripe__prices') }}

),

monthly_prices as (

    select * from {{ ref('int_prices__monthly') }}

),

internal_domains as (

    select * from {{ ref('internal_domains') }}

),

stripe_customers as (

    select * from {{ ref('stg_stripe__customers') }}

),

currency_rates as (

    select * from {{ ref('currency_rates') }}

),

tickets as (

    select *
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__tickets', 'intercom': 'stg_intercom__conversations'},
        {'ticket_id': dbt.type_string()},
    ) }}

),

attributed_tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

csat_answers as (

    select * from {{ ref('stg_surveys__csat_answers') }}

),

ces_answers as (

    select * from {{ ref('stg_surveys__ces_answers') }}

),

companies as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__companies', 'salesforce': 'stg_salesforce__accounts'},
        {'company_id': dbt.type_string(), 'lifecycle_stage': dbt.type_string()},
        {'hubspot': {'company_id': 'hubspot_company_id'}, 'salesforce': {'company_id': 'salesforce_account_id'}},
    ) }}

),

crm_contacts as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__contacts', 'salesforce': 'stg_salesforce__contacts'},
        {'record_id': dbt.type_string(), 'email': dbt.type_string()},
        {'hubspot': {'record_id': 'hubspot_contact_id'}, 'salesforce': {'record_id': 'salesforce_contact_id'}},
    ) }}

),

invoices as (

    select * from {{ ref('stg_stripe__invoices') }}

),

invoice_lines as (

    select * from {{ ref('stg_stripe__invoice_line_items') }}

),

email_events as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__email_events', 'marketo': 'stg_marketo__email_events'},
        {'email_event_id': dbt.type_string(), 'email': dbt.type_string()},
    ) }}

),

registrations as (

    select * from {{ ref('stg_webinars__registrations') }}

),

goals as (

    select * from {{ ref('stg_success_plans__goals') }}

),

community_users as (

    select * from {{ ref('stg_community__users') }}

),

-- by what everybody in the community is known: who wrote, voted or had the idea
community_doings as (

    {% for kind, (model, id, author) in {
        'post': ('posts', 'post_id', 'author_id'),
        'post_comment': ('post_comments', 'post_comment_id', 'author_id'),
        'idea': ('ideas', 'idea_id', 'author_id'),
        'vote': ('votes', 'vote_id', 'community_user_id'),
    }.items() %}
    select
        '{{ kind }}' as kind,
        {{ id }} as record_id,
        {{ author }} as community_user_id
    from {{ ref('stg_community__' ~ model) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

contact_links as (

    select * from {{ ref('int_contact_links') }}

),

-- every address that a contact has or had
addresses as (

    select distinct contact_links.email
    from contact_links
    inner join contacts
        on contact_links.contact_id = contacts.contact_id
    where
        contact_links.is_kept
        and contact_links.record_kind <> 'cookie'

),

-- use of the product by nobody we know
usage_without_customer as (

    select
        {{ rule_count(product_source, 'usage_without_customer', 'example_event_id', 'sum(uses + errors)') }}
    from usage_daily
    where customer_id is null

),

-- use before the first subscription began: a trial set up early, or a workspace that belongs to somebody else
usage_before_start as (

    select
        {{ rule_count(
            product_source,
            'usage_before_first_subscription',
            'usage_daily.example_event_id',
            'sum(usage_daily.uses + usage_daily.errors)'
        ) }}
    from usage_daily
    inner join subscribed
        on usage_daily.customer_id = subscribed.customer_id
    where usage_daily.usage_date < cast(subscribed.first_started_at as date)

),

subscriptions_without_customer as (

    select
        {{ rule_count('stripe', 'subscription_without_customer', 'subscriptions.subscription_id') }}
    from subscriptions
    left join stripe_customers
        on subscriptions.stripe_customer_id = stripe_customers.stripe_customer_id
    where stripe_customers.stripe_customer_id is null

),

items_without_subscription as (

    select
        {{ rule_count('stripe', 'item_without_subscription', 'subscription_items.subscription_item_id') }}
    from subscription_items
    left join subscriptions
        on subscription_items.subscription_id = subscriptions.subscription_id
    where subscriptions.subscription_id is null

),

-- who only ever looked, or whose subscription was lost on the way
customers_without_subscription as (

    select
        {{ rule_count('stripe', 'customer_without_subscription', 'stripe_customers.stripe_customer_id') }}
    from stripe_customers
    left join subscriptions
        on stripe_customers.stripe_customer_id = subscriptions.stripe_customer_id
    where
        subscriptions.subscription_id is null
        and not stripe_customers.is_deleted

),

-- our own people and tests, by rule
internal_customers as (

    select
        {{ rule_count('stripe', 'customer_is_internal', 'stripe_customers.stripe_customer_id') }}
    from stripe_customers
    inner join internal_domains
        on {{ email_domain('stripe_customers.email') }} = internal_domains.domain

),

-- live, says one field, and over, says the other: the status is right
subscriptions_over_and_live as (

    select
        {{ rule_count('stripe', 'live_subscription_has_ended', 'subscription_id') }}
    from subscriptions
    where
        status in ('trialing', 'active', 'past_due')
        and ended_at <= {{ as_of_at() }}

),

subscriptions_in_no_state as (

    select
        {{ rule_count('stripe', 'subscription_in_unknown_state', 'subscription_id') }}
    from subscriptions
    where
        coalesce(status, '') not in (
            'trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled', 'incomplete', 'incomplete_expired'
        )

),

live_subscriptions_without_item as (

    select
        {{ rule_count('stripe', 'live_subscription_without_item', 'subscriptions.subscription_id') }}
    from subscriptions
    left join subscription_items
        on subscriptions.subscription_id = subscription_items.subscription_id
    where
        subscriptions.status in ('trialing', 'active', 'past_due')
        and subscription_items.subscription_item_id is null

),

invoices_without_customer as (

    select
        {{ rule_count('stripe', 'invoice_without_customer', 'invoices.invoice_id') }}
    from invoices
    left join stripe_customers
        on invoices.stripe_customer_id = stripe_customers.stripe_customer_id
    where stripe_customers.stripe_customer_id is null

),

lines_without_subscription as (

    select
        {{ rule_count('stripe', 'invoice_line_without_subscription', 'invoice_lines.invoice_line_item_id') }}
    from invoice_lines
    left join subscriptions
        on invoice_lines.subscription_id = subscriptions.subscription_id
    where
        invoice_lines.subscription_id is not null
        and subscriptions.subscription_id is null

),

-- worth nothing in MRR
prices_below_zero as (

    select
        {{ rule_count('stripe', 'price_below_zero', 'price_id') }}
    from prices
    where unit_amount_minor < 0

),

-- a price without any interval is paid once and no MRR; one with an interval that nobody knows is a mistake
prices_without_interval as (

    select
        {{ rule_count('stripe', 'price_with_unknown_interval', 'price_id') }}
    from prices
    where
        billing_interval not in ('day', 'week', 'month', 'year')
        or billing_interval_count <= 0

),

items_beyond_belief as (

    select
        {{ rule_count('stripe', 'item_beyond_belief', 'subscription_items.subscription_item_id') }}
    from subscription_items
    inner join monthly_prices
        on subscription_items.price_id = monthly_prices.price_id
    where subscription_items.quantity * monthly_prices.monthly_amount > {{ threshold('believable_item_mrr') }}

),

coupons_out_of_range as (

    select
        {{ rule_count('stripe', 'coupon_out_of_range', 'coupon_id') }}
    from coupons
    where
        percent_off < 0
        or percent_off > 100
        or amount_off_minor < 0

),

-- nobody can tell from when they held
versions_without_start as (

    select
        {{ rule_count('stripe', 'version_without_start', 'id') }}
    from subscription_rows
    where case when is_history = 1 then version_from else valid_from end is null

),

-- worth nothing in MRR
items_below_zero as (

    select
        {{ rule_count('stripe', 'item_with_negative_quantity', 'subscription_item_id') }}
    from subscription_items
    where quantity < 0

),

versions_below_zero as (

    select
        {{ rule_count('stripe', 'version_with_negative_seats', 'subscription_id') }}
    from versions
    where seats < 0

),

-- what its items are worth now is not what its versions and invoices make of it; MRR follows the latter
subscriptions_contradicted as (

    select
        {{ rule_count('stripe', 'items_contradict_invoices', 'priced_subscriptions.subscription_id') }}
    from priced_subscriptions
    inner join subscription_months
        on
            priced_subscriptions.subscription_id = subscription_months.subscription_id
            and subscription_months.month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)
    where abs(priced_subscriptions.mrr - subscription_months.list_mrr) > 0.01

),

discounts_without_coupon as (

    select
        {{ rule_count('stripe', 'discount_without_coupon', 'discounts.discount_id') }}
    from discounts
    left join coupons
        on discounts.coupon_id = coupons.coupon_id
    where coupons.coupon_id is null

),

items_without_price as (

    select
        {{ rule_count('stripe', 'item_without_price', 'subscription_items.subscription_item_id') }}
    from subscription_items
    left join prices
        on subscription_items.price_id = prices.price_id
    where prices.price_id is null

),

-- amounts in a currency that seeds/rules/currency_rates.csv does not know count as nothing
prices_without_rate as (

    select
        {{ rule_count('stripe', 'price_in_unknown_currency', 'prices.price_id') }}
    from prices
    left join currency_rates
        on prices.currency = currency_rates.currency
    where currency_rates.currency is null

),

tickets_without_customer as (

    {% for source_name in ['zendesk', 'intercom'] %}
    select
        {{ rule_count(source_name, 'ticket_without_customer', 'tickets.ticket_id') }}
    from tickets
    left join attributed_tickets
        on
            tickets.source_name = attributed_tickets.source_name
            and tickets.ticket_id = attributed_tickets.source_ticket_id
    where
        tickets.source_name = '{{ source_name }}'
        and attributed_tickets.ticket_id is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

answers_without_contact as (

    {% for kind, id in {'nps': 'nps_answer_id', 'ces': 'answer_id'}.items() %}
    select
        {{ rule_count('surveys', kind ~ '_answer_without_contact', kind ~ '_answers.' ~ id) }}
    from {{ kind }}_answers
    left join addresses
        on {{ kind }}_answers.email = addresses.email
    where addresses.email is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

ratings_without_ticket as (

    select
        {{ rule_count('surveys', 'csat_answer_without_ticket', 'csat_answers.csat_answer_id') }}
    from csat_answers
    left join tickets
        on
            csat_answers.ticket_id = tickets.ticket_id
            and tickets.source_name = 'zendesk'
    where tickets.ticket_id is null

),

-- no number, or one off the scale that was asked for: no answer
answers_without_score as (

    {% for kind, id in {'nps': 'nps_answer_id', 'csat': 'csat_answer_id', 'ces': 'answer_id'}.items() %}
    select
        {{ rule_count('surveys', kind ~ '_answer_without_score', id) }}
    from {{ kind }}_answers
    where score is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

companies_without_customer as (

    {% for source_name, id in {'hubspot': 'hubspot_company_id', 'salesforce': 'salesforce_account_id'}.items() %}
    select
        {{ rule_count(source_name, 'company_without_customer', 'companies.company_id') }}
    from companies
    left join customers
        on companies.company_id = customers.{{ id }}
    where
        companies.source_name = '{{ source_name }}'
        and customers.customer_id is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- without an address, or at a company that is no customer
contacts_without_customer as (

    {% for source_name in ['hubspot', 'salesforce'] %}
    select
        {{ rule_count(source_name, 'contact_without_customer', 'crm_contacts.record_id') }}
    from crm_contacts
    left join addresses
        on crm_contacts.email = addresses.email
    where
        crm_contacts.source_name = '{{ source_name }}'
        and addresses.email is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- the CRM says gone while a subscription is live: the subscription is right
churn_flags_contradicted as (

    {% for source_name, id in {'hubspot': 'hubspot_company_id', 'salesforce': 'salesforce_account_id'}.items() %}
    select
        {{ rule_count(source_name, 'churn_flag_contradicts_subscription', 'companies.company_id') }}
    from companies
    inner join customers
        on companies.company_id = customers.{{ id }}
    inner join subscribed
        on customers.customer_id = subscribed.customer_id
    where
        companies.source_name = '{{ source_name }}'
        and (
            companies.lifecycle_stage like '%churn%'
            or companies.lifecycle_stage like 'former%'
            or companies.lifecycle_stage like 'cancel%'
            or companies.lifecycle_stage in ('lost', 'inactive')
        )
        and subscribed.is_live
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

mails_without_contact as (

    {% for source_name in ['hubspot', 'marketo'] %}
    select
        {{ rule_count(source_name, 'mail_event_without_contact', 'email_events.email_event_id') }}
    from email_events
    left join addresses
        on email_events.email = addresses.email
    where
        email_events.source_name = '{{ source_name }}'
        and addresses.email is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

registrations_without_contact as (

    select
        {{ rule_count('webinars', 'registration_without_contact', 'registrations.registration_id') }}
    from registrations
    left join addresses
        on registrations.email = addresses.email
    where addresses.email is null

),

goals_without_customer as (

    select
        {{ rule_count('success_plans', 'goal_without_customer', 'goals.goal_id') }}
    from goals
    left join customers as by_company
        on goals.hubspot_company_id = by_company.hubspot_company_id
    left join customers as by_workspace
        on goals.workspace_id = by_workspace.workspace_id
    where
        by_company.customer_id is null
        and by_workspace.customer_id is null

),

-- people of the community whom no customer knows
community_users_without_contact as (

    select
        {{ rule_count('community', 'user_without_contact', 'community_users.community_user_id') }}
    from community_users
    left join addresses
        on community_users.email = addresses.email
    where addresses.email is null

),

doings_without_user as (

    {% for kind in ['post', 'post_comment', 'idea', 'vote'] %}
    select
        {{ rule_count('community', kind ~ '_without_user', 'community_doings.record_id') }}
    from community_doings
    left join community_users
        on community_doings.community_user_id = community_users.community_user_id
    where
        community_doings.kind = '{{ kind }}'
        and community_users.community_user_id is null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- two customers that claim one record, or one customer two records
links_in_conflict as (

    select
        {{ rule_count('identity', 'link_in_conflict', 'record_id') }}
    from links
    where not is_kept

),

-- an address of two customers, or a record of two: kept apart
contact_links_in_conflict as (

    select
        {{ rule_count('identity', 'contact_link_in_conflict', 'record_id') }}
    from contact_links
    where
        not is_kept
        and record_kind <> 'cookie'

),

-- a cookie used by two people is linked to neither
visitors_in_conflict as (

    select
        {{ rule_count('identity', 'cookie_of_several_contacts', 'anonymous_id') }}
    from visitors
    where is_shared

),

final as (

    {% for step in [
        'usage_without_customer',
        'usage_before_start',
        'subscriptions_without_customer',
        'customers_without_subscription',
        'internal_customers',
        'items_without_subscription',
        'subscriptions_over_and_live',
        'subscriptions_in_no_state',
        'live_subscriptions_without_item',
        'invoices_without_customer',
        'lines_without_subscription',
        'prices_below_zero',
        'prices_without_interval',
        'items_beyond_belief',
        'coupons_out_of_range',
        'versions_without_start',
        'items_below_zero',
        'versions_below_zero',
        'subscriptions_contradicted',
        'discounts_without_coupon',
        'items_without_price',
        'prices_without_rate',
        'tickets_without_customer',
        'answers_without_contact',
        'ratings_without_ticket',
        'answers_without_score',
        'companies_without_customer',
        'contacts_without_customer',
        'churn_flags_contradicted',
        'mails_without_contact',
        'registrations_without_contact',
        'goals_without_customer',
        'community_users_without_contact',
        'doings_without_user',
        'links_in_conflict',
        'contact_links_in_conflict',
        'visitors_in_conflict',
    ] %}
    select * from {{ step }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select * from final
