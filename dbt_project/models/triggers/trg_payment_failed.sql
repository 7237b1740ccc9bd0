-- A payment has begun to be outstanding and still is: tell those who can put it right, before the service stops.
-- One episode per subscription, contact and time in which it is outstanding.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "payment_failed",
}}) }}

with

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

invoices as (

    select * from {{ ref('stg_stripe__invoices') }}

),

rates as (

    select * from {{ ref('currency_rates') }}

),

customers as (

    select * from {{ ref('customers') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

followed as (

    select
        versions.*,
        lag(status) over (
            partition by subscription_id
            order by valid_from
        ) as previous_status
    from versions

),

-- the last time that it began
begun as (

    select
        subscription_id,
        cast(max(valid_from) as date) as opened_date
    from followed
    where
        status in ('past_due', 'unpaid')
        and coalesce(previous_status, '') not in ('past_due', 'unpaid')
        and valid_from <= {{ as_of_at() }}
    group by subscription_id

),

owed as (

    select
        invoices.subscription_id,
        upper(min(invoices.currency)) as currency,
        min(rates.minor_digits) as minor_digits,
        sum({{ major_units('invoices.amount_remaining_minor', 'rates.minor_digits') }}) as amount
    from invoices
    inner join rates
        on invoices.currency = rates.currency
    where
        invoices.status in ('open', 'uncollectible')
        and invoices.amount_remaining_minor > 0
    group by invoices.subscription_id
    having count(distinct invoices.currency) = 1

),

opened as (

    select
        customers.customer_id,
        contacts.contact_id,
        begun.subscription_id as subject,
        begun.opened_date,
        owed.currency,
        -- as people write it: yen have no decimals
        case
            when owed.minor_digits = 0 then cast(cast(owed.amount as decimal(18, 0)) as {{ dbt.type_string() }})
            else cast(cast(owed.amount as decimal(18, 2)) as {{ dbt.type_string() }})
        end as amount_due
    from begun
    inner join subscriptions
        on begun.subscription_id = subscriptions.subscription_id
    inner join customers
        on subscriptions.stripe_customer_id = customers.customer_id
    inner join contacts
        on customers.customer_id = contacts.customer_id
    left join owed
        on begun.subscription_id = owed.subscription_id
    where
        {{ is_candidate('begun.opened_date') }}
        and subscriptions.status in ('past_due', 'unpaid')
        and contacts.role in ('admin', 'decision_maker')

),

identified as (

    select * from {{ episodes('payment_failed', 'opened') }} as known_episodes

),

final as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'A payment of '",
            'identified.amount_due',
            "' '",
            'identified.currency',
            "' failed'",
        ]) }} as reason,
        customers.customer_name,
        identified.currency,
        identified.amount_due
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

)

select * from final
