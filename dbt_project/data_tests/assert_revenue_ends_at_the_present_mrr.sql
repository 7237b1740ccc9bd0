-- The last month ends with the MRR of the subscriptions that are live at the clock: theirs at list price as billing has
-- it now, less what their discounts take off. A cent for each subscription is left to rounding. Items landed after the
-- clock say nothing about it. One that contradicts its own invoices is counted in marts.data_quality; many of them are a
-- mistake of ours. Without a history this warns: a change of seats is seen with the invoice that bills it.
{{ config(
    severity="error" if var('sources').stripe.loader == 'fivetran' else "warn",
    meta={"dagster": {"ref": {"name": "revenue_monthly"}}},
) }}
with

revenue as (

    select * from {{ ref('revenue_monthly') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

subscriptions as (

    select * from {{ ref('int_subscriptions__priced') }}

),

customers as (

    select * from {{ ref('customers') }}

),

subscription_items as (

    select * from {{ ref('stg_stripe__subscription_items') }}

),

last_month as (

    select
        month,
        end_mrr
    from revenue
    where month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)

),

-- what billing has for the clock, and not for later
itemised as (

    select subscription_id
    from subscription_items
    group by subscription_id
    having max(loaded_at) <= {{ as_of_at() }}

),

present as (

    select
        subscriptions.subscription_id,
        subscriptions.mrr
    from subscriptions
    inner join itemised
        on subscriptions.subscription_id = itemised.subscription_id
    inner join customers
        on subscriptions.customer_id = customers.customer_id

),

observed as (

    select
        subscription_months.subscription_id,
        subscription_months.list_mrr,
        subscription_months.mrr
    from subscription_months
    inner join last_month
        on subscription_months.month = last_month.month

),

total as (

    select
        last_month.end_mrr,
        (select sum(observed.mrr) from observed) as present_mrr
    from last_month

),

compared as (

    select
        present.subscription_id,
        present.mrr as expected_mrr,
        observed.list_mrr as found_mrr,
        case when abs(present.mrr - coalesce(observed.list_mrr, 0)) > 0.01 then 1 else 0 end as is_different
    from present
    left join observed
        on present.subscription_id = observed.subscription_id

),

final as (

    select
        subscription_id,
        expected_mrr,
        found_mrr
    from compared
    where
        is_different = 1
        and (select sum(every.is_different) > {{ threshold('revenue_items_in_doubt_share') }} * count(*) from compared as every)

    union all

    select
        'all of them' as subscription_id,
        present_mrr as expected_mrr,
        end_mrr as found_mrr
    from total
    where coalesce(present_mrr, 0) <> end_mrr

)

select * from final
