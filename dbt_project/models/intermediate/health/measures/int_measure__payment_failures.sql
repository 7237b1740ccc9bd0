-- Times in the last 180 days that a payment began to be outstanding.
{% set failures %}
    (
        select stripe_customer_id as customer_id, cast(valid_from as date) as from_date
        from {{ ref('stg_stripe__subscription_versions') }}
        where status in ('past_due', 'unpaid')
    )
{% endset %}
{% set totals = running_totals(summed_in_days(failures, 'from_date', {'counted': '1'}, 180), ['counted']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ totals }} as running

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(totals.counted as double precision) as raw_value,
        customer_days.billing_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
