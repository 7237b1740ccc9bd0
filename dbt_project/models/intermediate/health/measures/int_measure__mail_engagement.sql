-- Share of the mails of the last 90 days that a person opened or clicked; nothing where no mail was delivered.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

mails as (

    select * from {{ ref('int_mails__engaged') }}

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        {{ ratio('count(case when mails.reacted_date <= customer_days.as_of_date then 1 end)', 'count(*)') }} as raw_value
    from customer_days
    inner join mails
        on
            customer_days.customer_id = mails.customer_id
            and mails.delivered_date <= customer_days.as_of_date
            and mails.delivered_date > {{ days_before('customer_days.as_of_date', 90) }}
    group by
        customer_days.customer_id,
        customer_days.as_of_date

)

select * from final
