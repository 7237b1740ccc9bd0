with

source as (

    select
        *,
        {{ load_rank(['id', '_fivetran_start'], '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'subscription_history') }}

),

renamed as (

    select
        ---------- ids
        id as subscription_id,
        customer_id as stripe_customer_id,
        ---------- attributes
        status,
        {{ whole_number('quantity') }} as seats,
        ---------- timestamps
        {{ utc_timestamp('_fivetran_start') }} as valid_from,
        {{ utc_timestamp('_fivetran_end') }} as valid_to,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where valid_from <= {{ as_of_at() }}

)

select * from known
