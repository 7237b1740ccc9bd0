-- MRR of each subscription at a month's end. Rounded here, once for each subscription: to six digits first, so that the
-- last bit of a division never decides about a cent.
with

listed as (

    select * from {{ ref('int_subscription_months__listed') }}

),

discounted as (

    select * from {{ ref('int_subscription_months__discounted') }}

),

currency_rates as (

    select * from {{ ref('currency_rates') }}

),

monthly_rates as (

    select * from {{ ref('currency_rates_monthly') }}

),

amounts as (

    select
        listed.subscription_id,
        listed.customer_id,
        listed.month,
        listed.plan_name,
        listed.seats,
        listed.monthly_amount as list_amount,
        listed.monthly_amount * coalesce(discounted.share_left, 1)
        - coalesce(discounted.period_amount_off * listed.periods_per_month, 0) as amount,
        -- the fixed rate stands in where a month has none
        coalesce(
            {{ ratio('monthly_rates.rate_to_reporting', 'currency_rates.rate_to_reporting') }}, 1
        ) as rate_against_fixed
    from listed
    left join discounted
        on
            listed.subscription_id = discounted.subscription_id
            and listed.month = discounted.month
    left join currency_rates
        on listed.currency = currency_rates.currency
    left join monthly_rates
        on
            listed.currency = monthly_rates.currency
            and listed.month = monthly_rates.month

),

-- a discount never makes revenue negative
final as (

    select
        subscription_id,
        customer_id,
        month,
        plan_name,
        seats,
        cast(cast(list_amount as decimal(18, 6)) as decimal(18, 2)) as list_mrr,
        cast(cast(case when amount > 0 then amount else 0 end as decimal(18, 6)) as decimal(18, 2)) as mrr,
        cast(
            cast(case when amount > 0 then amount * rate_against_fixed else 0 end as decimal(18, 6)) as decimal(18, 2)
        ) as mrr_at_month_end_rates
    from amounts

)

select * from final
