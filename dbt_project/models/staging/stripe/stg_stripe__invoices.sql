with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'invoice') }}

),

renamed as (

    select
        ---------- ids
        id as invoice_id,
        customer_id as stripe_customer_id,
        subscription_id,
        ---------- attributes
        status,
        lower(currency) as currency,
        {{ whole_number('amount_due') }} as amount_due_minor,
        {{ whole_number('amount_remaining') }} as amount_remaining_minor,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('due_date') }} as due_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
