-- Rows that could not be placed, or that contradict another system: counted here so that nothing is dropped in silence.
-- One step for each rule; `row_key` is what to look for in the source.
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

prices as (

    select * from {{ ref('stg_stripe__prices') }}

),

stripe_customers as (

    select * from {{ ref('stg_stripe__customers') }}

),

currency_rates as (

    select * from {{ ref('currency_rates') }}

),

tickets as (

    select * from {{ ref('stg_zendesk__tickets') }}

),

attributed_tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

companies as (

    select * from {{ ref('stg_hubspot__companies') }}

),

-- use of the product by nobody we know
usage_without_customer as (

    select
        'segment' as source,
        'usage_without_customer' as rule,
        sum(uses) as row_count,
        min(example_event_id) as example_key
    from usage_daily
    where customer_id is null

),

-- use before the first subscription began: a trial set up early, or a workspace that belongs to somebody else
usage_before_start as (

    select
        'segment' as source,
        'usage_before_first_subscription' as rule,
        sum(usage_daily.uses) as row_count,
        min(usage_daily.example_event_id) as example_key
    from usage_daily
    inner join subscribed
        on usage_daily.customer_id = subscribed.customer_id
    where usage_daily.usage_date < cast(subscribed.first_started_at as date)

),

subscriptions_without_customer as (

    select
        'stripe' as source,
        'subscription_without_customer' as rule,
        count(*) as row_count,
        min(subscriptions.subscription_id) as example_key
    from subscriptions
    left join stripe_customers
        on subscriptions.stripe_customer_id = stripe_customers.stripe_customer_id
    where stripe_customers.stripe_customer_id is null

),

items_without_subscription as (

    select
        'stripe' as source,
        'item_without_subscription' as rule,
        count(*) as row_count,
        min(subscription_items.subscription_item_id) as example_key
    from subscription_items
    left join subscriptions
        on subscription_items.subscription_id = subscriptions.subscription_id
    where subscriptions.subscription_id is null

),

items_without_price as (

    select
        'stripe' as source,
        'item_without_price' as rule,
        count(*) as row_count,
        min(subscription_items.subscription_item_id) as example_key
    from subscription_items
    left join prices
        on subscription_items.price_id = prices.price_id
    where prices.price_id is null

),

-- amounts in a currency that seeds/rules/currency_rates.csv does not know count as nothing
prices_without_rate as (

    select
        'stripe' as source,
        'price_in_unknown_currency' as rule,
        count(*) as row_count,
        min(prices.price_id) as example_key
    from prices
    left join currency_rates
        on prices.currency = currency_rates.currency
    where currency_rates.currency is null

),

tickets_without_customer as (

    select
        'zendesk' as source,
        'ticket_without_customer' as rule,
        count(*) as row_count,
        min(tickets.ticket_id) as example_key
    from tickets
    left join attributed_tickets
        on tickets.ticket_id = attributed_tickets.ticket_id
    where attributed_tickets.ticket_id is null

),

answers_without_contact as (

    select
        'surveys' as source,
        'nps_answer_without_contact' as rule,
        count(*) as row_count,
        min(nps_answers.nps_answer_id) as example_key
    from nps_answers
    left join contacts
        on nps_answers.email = contacts.email
    where contacts.contact_id is null

),

companies_without_customer as (

    select
        'hubspot' as source,
        'company_without_customer' as rule,
        count(*) as row_count,
        min(companies.hubspot_company_id) as example_key
    from companies
    left join customers
        on companies.hubspot_company_id = customers.hubspot_company_id
    where customers.customer_id is null

),

-- the CRM says gone while a subscription is live: the subscription is right
churn_flags_contradicted as (

    select
        'hubspot' as source,
        'churn_flag_contradicts_subscription' as rule,
        count(*) as row_count,
        min(companies.hubspot_company_id) as example_key
    from companies
    inner join customers
        on companies.hubspot_company_id = customers.hubspot_company_id
    inner join subscribed
        on customers.customer_id = subscribed.customer_id
    where
        companies.lifecycle_stage in ('churned', 'former customer', 'lost')
        and subscribed.is_live

),

-- two customers that claim one record, or one customer two records
links_in_conflict as (

    select
        'identity' as source,
        'link_in_conflict' as rule,
        count(*) as row_count,
        min(record_id) as example_key
    from links
    where not is_kept

),

-- a cookie used by two people is linked to neither
visitors_in_conflict as (

    select
        'identity' as source,
        'cookie_of_several_contacts' as rule,
        count(*) as row_count,
        min(anonymous_id) as example_key
    from visitors
    where is_shared

),

final as (

    select * from usage_without_customer
    union all
    select * from usage_before_start
    union all
    select * from subscriptions_without_customer
    union all
    select * from items_without_subscription
    union all
    select * from items_without_price
    union all
    select * from prices_without_rate
    union all
    select * from tickets_without_customer
    union all
    select * from answers_without_contact
    union all
    select * from companies_without_customer
    union all
    select * from churn_flags_contradicted
    union all
    select * from links_in_conflict
    union all
    select * from visitors_in_conflict

)

select * from final
