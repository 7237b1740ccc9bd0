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
        {{ rule_count('segment', 'usage_without_customer', 'example_event_id', 'sum(uses)') }}
    from usage_daily
    where customer_id is null

),

-- use before the first subscription began: a trial set up early, or a workspace that belongs to somebody else
usage_before_start as (

    select
        {{ rule_count('segment', 'usage_before_first_subscription', 'usage_daily.example_event_id', 'sum(usage_daily.uses)') }}
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

    select
        {{ rule_count('zendesk', 'ticket_without_customer', 'tickets.ticket_id') }}
    from tickets
    left join attributed_tickets
        on tickets.ticket_id = attributed_tickets.ticket_id
    where attributed_tickets.ticket_id is null

),

answers_without_contact as (

    select
        {{ rule_count('surveys', 'nps_answer_without_contact', 'nps_answers.nps_answer_id') }}
    from nps_answers
    left join contacts
        on nps_answers.email = contacts.email
    where contacts.contact_id is null

),

companies_without_customer as (

    select
        {{ rule_count('hubspot', 'company_without_customer', 'companies.hubspot_company_id') }}
    from companies
    left join customers
        on companies.hubspot_company_id = customers.hubspot_company_id
    where customers.customer_id is null

),

-- the CRM says gone while a subscription is live: the subscription is right
churn_flags_contradicted as (

    select
        {{ rule_count('hubspot', 'churn_flag_contradicts_subscription', 'companies.hubspot_company_id') }}
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
        {{ rule_count('identity', 'link_in_conflict', 'record_id') }}
    from links
    where not is_kept

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
        'items_without_subscription',
        'versions_without_start',
        'items_below_zero',
        'versions_below_zero',
        'subscriptions_contradicted',
        'discounts_without_coupon',
        'items_without_price',
        'prices_without_rate',
        'tickets_without_customer',
        'answers_without_contact',
        'companies_without_customer',
        'churn_flags_contradicted',
        'links_in_conflict',
        'visitors_in_conflict',
    ] %}
    select * from {{ step }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select * from final
